"""A run's trackers: built once for the run, in its first process; whatever fails in one stops nothing."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.errors import KDRecipesError, MissingPart, one_line
from kdrecipes.extras import need
from kdrecipes.processes import is_first_process
from kdrecipes.recipe.tables import ComponentTable, Recipe
from kdrecipes.runs.build import build_component, builder, is_tracker

_HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith(("on_", "set_"))]


def need_callbacks(recipe: Recipe) -> None:
    """Refuse to begin a run whose callbacks import what is not installed.

    Raises:
        MissingPart: naming each callback, what is missing, and how to install it.
    """
    told = []
    for table in recipe.callbacks:
        build = builder(recipe, table)
        try:
            need(f"The callback {table.name!r}", getattr(build, "modules", ()), getattr(build, "extra", "run"))
        except MissingPart as error:
            told.append(str(error))
    if told:
        raise MissingPart("\n".join(dict.fromkeys(told)))


class Trackers:
    """Those of one run.

    Args:
        recipe: the run's.
        folder: the run folder.
        tell: gets a line, once, for each tracker that fails.

    Attributes:
        callbacks: for every arm's fit. None of their methods raises.
        warnings: what was told, for the report.
    """

    def __init__(self, recipe: Recipe, folder: Path, tell: Callable[[str], None]):
        self.recipe, self.folder, self.tell = recipe, folder, tell
        self.callbacks: list[Any] = []
        self.warnings: list[str] = []
        self._failed: set[int] = set()
        self._open: list[Any] = []
        for number, table in enumerate(recipe.callbacks if is_first_process() else ()):
            if is_tracker(recipe, table) and (tracker := self._try(number, self._built, table)):
                self._guard(number, tracker)
                self.callbacks.append(tracker)
                self._open.append(tracker)
                if begin := getattr(tracker, "on_run_begin", None):
                    begin(copy.deepcopy(dict(recipe.data)), folder)

    def _built(self, table: ComponentTable) -> Any:
        tracker = build_component(self.recipe, table, folder=str(self.folder))
        if not isinstance(tracker, keras.callbacks.Callback):
            raise TypeError(f"its build returned a {type(tracker).__name__}, not a keras.callbacks.Callback")
        return tracker

    def end(self, report: dict[str, Any] | None) -> list[str]:
        """Let each log what the run found, a failed one too, since an outage may be over; None: it found nothing. Once.

        Returns:
            What was told meanwhile.
        """
        before = len(self.warnings)
        heard, self._open = self._open, []
        for tracker in heard:
            if end := getattr(tracker, "on_run_end", None):
                end(report, self.folder)
        return self.warnings[before:]

    def _guard(self, number: int, tracker: Any) -> None:
        """Put a fence around every method of it that is called: Keras' own ones stay as they are, and cost nothing."""
        for hook in (*_HOOKS, "on_run_begin", "on_run_end"):
            if getattr(type(tracker), hook, None) is not getattr(keras.callbacks.Callback, hook, None):
                method = getattr(tracker, hook)
                setattr(tracker, hook, functools.partial(self._try, number, method))

    def _try(self, number: int, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if number in self._failed and getattr(function, "__name__", "") != "on_run_end":
            return None
        try:
            return function(*args, **options)
        except (Exception, SystemExit) as error:  # a stranger's server, or code
            if number not in self._failed:
                self._failed.add(number)
                name = self.recipe.callbacks[number].name
                told = str(error) if isinstance(error, KDRecipesError) else one_line(error)
                why = told.rstrip(".")
                self.warnings.append(f"the tracker {name!r} failed, and logs no more until the run ends: {why}.")
                self.tell(f"Warning: {self.warnings[-1]}")
            return None


@contextmanager
def tracked(recipe: Recipe, folder: Path, tell: Callable[[str], None]) -> Iterator[Trackers]:
    """The run's trackers; where the block raises they are told that the run did not reach its end."""
    trackers = Trackers(recipe, folder, tell)
    try:
        yield trackers
    except BaseException:
        trackers.end(None)
        raise
