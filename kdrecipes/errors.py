"""The errors shown to people, each with the exit code it leaves the command line with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from kdrecipes.secret_values import secrets, without_secrets
from kdrecipes.wording import harmless

# What kind of thing is wrong in a recipe, for programs: a code stays when its sentence is worded anew.
Code = Literal[
    # The file
    "no-such-file",
    "unreadable",  # the system refuses it
    "not-a-recipe",  # neither .toml nor .json, or no table
    "not-utf8",
    "not-toml",
    "not-json",
    "too-large",  # bytes, levels or digits
    "not-extendable",  # what `extends` says leads nowhere
    # Keys
    "unknown-key",
    "misplaced-key",  # it belongs in another table, or is the run's to set
    "missing-key",
    "repeated-key",
    "names-code",  # a recipe names no code
    "unknown-component",  # no installed plugin provides it
    # Values
    "wrong-type",
    "wrong-form",  # text of another form
    "wrong-length",  # of text, an array or a table
    "out-of-range",
    "not-a-choice",
    "repeated-entry",
    "holds-secret",
    "not-representable",  # TOML and JSON have no common word for it: null, a date, infinity
    "not-a-requirement",
    "unordered-range",
    "same-split",
    # Keys that do not go together
    "broken-rule",  # a component's own
    "missing-term",
    "missing-teacher",
    "repeated-id",
    "unknown-teacher",  # a term names one that is not there
    "unnamed-teacher",  # a term on features must name one of several
    "nothing-to-compare",
    "nothing-to-learn",
    "term-and-terms",
    "grid-and-points",
    "unpaired-layers",
    "two-crops",
    # Beyond the recipe
    "missing-requirement",
    "broken-requirement",
    "broken-component",  # its builder can't be called as its options say
    "failed",  # what a dry run met
]


class KDRecipesError(Exception):
    """Base of all errors whose message is meant for the user.

    Attributes:
        exit_code: the command's.
        problems: the places in a recipe that it is about, where there are any.
        place: the key or table of a recipe that it is about, which its text begins with; empty for none.
        hint: a last line of its text, such as a way around; empty for none.
    """

    exit_code = 1
    problems: Sequence[Problem] = ()
    place = ""
    hint = ""

    def at(self, place: str) -> Self:
        """The same error, told of a place in the recipe, such as `dataset.path`; the place told first stays.

        What raises an error knows best what it is about, so that those who pass it on can't blur that.
        """
        self.place = self.place or place
        return self

    def __str__(self) -> str:
        text = f"{self.place}: {super().__str__()}" if self.place else super().__str__()
        return without_secrets(f"{text}\n{self.hint}" if self.hint else text)  # it is kept, in status.json and others


class RunError(KDRecipesError):
    """A run failed: bad data, a teacher that does not pass its preflight, a non-finite loss (exit code 1)."""


class UsageError(KDRecipesError):
    """The command line or the run folder contradicts what was asked (exit code 2)."""

    exit_code = 2


class EnvironmentProblem(KDRecipesError):
    """Something outside the recipe is missing or broken: a package, a plugin, data, the disk (exit code 3)."""

    exit_code = 3

    def __init__(self, message: str, problems: Sequence[Problem] = ()):
        super().__init__(message)
        self.problems = problems


class MissingPart(EnvironmentProblem, ImportError):
    """A package that a plain installation leaves out is needed; the text says how to install it (exit code 3).

    An ImportError too, so that a script may try without it.
    """


class Preempted(BaseException):
    """SIGTERM came; of a training the last step is saved (exit code 143).

    Like KeyboardInterrupt no `Exception`: it may arise inside any code, and nobody who handles errors may swallow it.
    """

    exit_code = 143


_MOST_TOLD = 200  # problems that a text lists
_BOLD = re.compile(r"\x1b\[[0-9;]*m")


def one_line(error: BaseException) -> str:
    """An exception as one line of text, without secrets and without the escapes that make a terminal write bold."""
    text = " ".join(without_secrets(_BOLD.sub("", str(error))).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _short(text: str) -> str:
    """What a stranger wrote, of any length, in at most 300 characters."""
    return text if len(text) <= 300 else f"{text[:299]}…"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a recipe: where, which rule, what was received, what may have been meant, of what kind it is.

    `line` and `column` count from 1; 0 where the file has no such place. `file` is `--set …` or `--grid …` where a
    command wrote it.
    """

    file: str
    line: int
    column: int
    path: str
    rule: str
    received: str = ""
    suggestion: str = ""
    code: Code = field(kw_only=True)

    @property
    def in_file(self) -> bool:
        """Whether a file says it, not an option of the command."""
        return not self.file.startswith("--")

    def __str__(self) -> str:
        file, path = self.file if self.in_file else _short(self.file), _short(self.path)
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        rule = self.rule if self.rule.endswith(("?", ".")) else f"{self.rule}."
        text = f"{place}  {path}  {rule}" if path else f"{place}  {rule}"
        tail = [f"Received: {_short(self.received)}"] if self.received else []
        tail += [f"did you mean {_short(self.suggestion)}?"] if self.suggestion else []
        return harmless(without_secrets(f"{text} {'; '.join(tail)}".rstrip()))

    def asdict(self) -> dict[str, Any]:
        """The problem as a JSON object, keys as the fields; no text of it holds a secret."""
        known = secrets()
        texts = {key: without_secrets(value, known) for key, value in vars(self).items() if isinstance(value, str)}
        return asdict(self) | texts


class RecipeError(UsageError):
    """A recipe is not valid (exit code 2). `problems` lists everything found, in file order; the text the first 200."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        more = [f"and {len(problems) - _MOST_TOLD:,} more problems"] if len(problems) > _MOST_TOLD else []
        super().__init__("\n".join([*map(str, problems[:_MOST_TOLD]), *more]))
