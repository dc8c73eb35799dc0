"""The errors shown to people, each with the exit code it leaves the command line with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


class KDRecipesError(Exception):
    """Base of all errors whose message is meant for the user.

    Attributes:
        exit_code: the command's.
        problems: the places in a recipe that it is about, where there are any.
    """

    exit_code = 1
    problems: Sequence[Problem] = ()


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


class Preempted(BaseException):
    """SIGTERM came; the last whole epoch is saved (exit code 143).

    Like KeyboardInterrupt no `Exception`: it may arise inside any code, and nobody who handles errors may swallow it.
    """

    exit_code = 143


def one_line(error: BaseException) -> str:
    """An exception as one line of text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a recipe: where, which rule, what was received, what may have been meant.

    `line` and `column` count from 1; 0 where the file has no such place (a `--set` override).
    """

    file: str
    line: int
    column: int
    path: str
    rule: str
    received: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}  {self.path}  {self.rule}." if self.path else f"{place}  {self.rule}."
        tail = [f"Received: {self.received}"] if self.received else []
        tail += [f"did you mean {self.suggestion}?"] if self.suggestion else []
        return f"{text} {'; '.join(tail)}".rstrip()

    def asdict(self) -> dict[str, Any]:
        """The problem as a JSON object, keys as the fields."""
        return asdict(self)


class RecipeError(UsageError):
    """A recipe is not valid (exit code 2). `problems` lists everything found, in file order."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
