"""`--grid` and `--seeds`: what a command writes of a sweep, read as TOML."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from typing import Any

from kdrecipes.errors import Problem, RecipeError, UsageError
from kdrecipes.recipe.messages import unrepresentable
from kdrecipes.recipe.overrides import dotted
from kdrecipes.recipe.positions import too_deep
from kdrecipes.recipe.source import MAX_DEPTH
from kdrecipes.recipe.sweep_points import Change
from kdrecipes.wording import printable

_NUMBER = r"[+-]?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?"  # int() refuses thousands of digits
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")
_HOW = (
    'write key=value,value,…, values as in TOML, strings in double quotes: --grid \'student.name="cnn","small"\'; '
    "for --search also a range: --grid loss.temperature=1..8"
)


@dataclass(frozen=True)
class Span:
    """A range of a search: from `low` to `high`, both included, whole numbers or real ones; even in its logarithm."""

    key: str
    low: float
    high: float
    log: bool
    text: str

    @property
    def ends(self) -> list[Change]:
        """Both ends, as changes."""
        at = f"--grid {self.text}"
        return [Change(self.key, end, at, at) for end in (self.low, self.high)]

    @property
    def told(self) -> dict[str, Any]:
        """The range as JSON."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def of_numbers(self) -> Span:
        """The same range of real numbers."""
        return replace(self, low=float(self.low), high=float(self.high))


def grid_option(text: str, search: bool) -> tuple[str, list[Change] | Span]:
    """The key of one `--grid`, and its values or, for a search, the range that it names.

    Raises:
        RecipeError: when it is neither.
    """

    def refusal(rule: str) -> RecipeError:
        return RecipeError([Problem(printable(f"--grid {text}"), 0, 0, "", rule, code="not-toml")])

    key, equals, values = (part.strip() for part in text.partition("="))
    if not equals:
        raise refusal(f"has no `=`; {_HOW}")
    if dotted(key) is None:
        raise refusal(f"names no key; {_HOW}")
    if not values:
        raise refusal(f"has no value; {_HOW}")
    if found := _RANGE.fullmatch(values):
        if not search:
            raise refusal("is a range, which only --search draws from; list the values: key=1,2,4")
        low, high, log = _number(found[1]), _number(found[2]), bool(found[3])
        if low >= high:
            raise refusal("must go from the least to the greatest")
        if log and low <= 0:
            raise refusal("must begin above 0 where it is even in its logarithm (:log)")
        return key, Span(key, low, high, log, text)
    if too_deep(values, MAX_DEPTH - 2, json=False) is not None:
        raise refusal(_HOW)
    try:
        listed: Any = tomllib.loads(f"v = [{values}]")
        if set(listed) != {"v"} or not listed["v"]:
            raise ValueError
    except ValueError:  # no TOML
        raise refusal(f"is not TOML; {_HOW}") from None
    for value in listed["v"]:
        if message := unrepresentable(value):
            raise refusal(message.rule)
    at = f"--grid {text}"
    return key, [Change(key, value, at, at) for value in listed["v"]]


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else float(text)


def seeds_option(text: str) -> tuple[int, ...]:
    """`"0,1,2"` as seeds.

    Raises:
        UsageError: when these are no seeds.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,10}", part) and int(part) < 2**32 for part in parts):
        raise UsageError(f"--seeds {text}: must be whole numbers from 0 to 4294967295, such as 0,1,2.")
    seeds = tuple(int(part) for part in parts)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: must not repeat a seed.")
    return seeds
