"""A split as it is written, `train[:90%]`: what its text alone tells."""

from __future__ import annotations

import re
from typing import NamedTuple

_SPLIT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[(?P<from>-?[0-9]+%?)?:(?P<to>-?[0-9]+%?)?\])?")
_END = 10**18  # more images than any dataset has


class Slice(NamedTuple):
    """From a bound to before another, counted in images or in percent from the first image on."""

    start: int
    stop: int
    percent: bool


def parse_split(text: str) -> tuple[str, str | None, str | None]:
    """`"train[:90%]"` → `("train", None, "90%")`.

    Raises:
        ValueError: when the text is no split.
    """
    match = _SPLIT.fullmatch(text)
    if match is None:
        raise ValueError(f"a split is a name with an optional slice, such as train[:90%]. Received: {text!r}")
    return match["name"], match["from"], match["to"]


def base_of(text: str) -> str:
    """`"train[:90%]"` → `"train"`: the split of the dataset that it is a part of."""
    return parse_split(text)[0]


def at_most(text: str) -> int | None:
    """The most images that a split can hold, whatever its dataset; None where its text does not bound them.

    0 is told of one that holds none for certain.
    """
    _, start, stop = parse_split(text)
    if (written := _slice(text)) is not None and written.stop <= written.start:
        return 0
    first, last = start or "0", stop or "-0"
    if "%" in last:
        return None
    if last.startswith("-"):  # from the end, as -0 is the end itself
        return max(0, int(last) - int(first)) if first.startswith("-") and "%" not in first else None
    if "%" in first or first.startswith("-"):
        return int(last)
    return max(0, int(last) - int(first))


def overlap_for_certain(first: str, second: str) -> bool:
    """Whether two splits share images in any dataset in which both hold some; what depends on its size is let pass."""
    if base_of(first) != base_of(second):
        return False
    a, b = _slice(first), _slice(second)
    if _is_whole(first) or _is_whole(second):
        return True
    return a is not None and b is not None and a.percent == b.percent and max(a.start, b.start) < min(a.stop, b.stop)


def _is_whole(text: str) -> bool:
    _, start, stop = parse_split(text)
    return start in (None, "0", "0%") and stop in (None, "100%")


def _slice(text: str) -> Slice | None:
    """A slice whose bounds are of one kind and count from the beginning; None for any other."""
    _, start, stop = parse_split(text)
    bounds = [bound for bound in (start, stop) if bound is not None]
    percent = any("%" in bound for bound in bounds)
    if any(bound.startswith("-") or ("%" in bound) != percent for bound in bounds):
        return None
    end = "100%" if percent else str(_END)
    return Slice(int((start or "0").rstrip("%")), int((stop or end).rstrip("%")), percent)
