"""A fit's state, saved every so many seconds and after each epoch; the rows of its epochs, their losses checked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.backend import keras
from kdrecipes.errors import RunError, one_line
from kdrecipes.stopping import is_asked, stop_if_asked
from kdrecipes.training import generators
from kdrecipes.training.finite import refuse_infinite
from kdrecipes.training.gradient_watch import GradientWatch
from kdrecipes.training.state import StateFolder

Row = dict[str, Any]
_TIMES = 50  # as long as a save takes, at least, until the next one: of 50 seconds one is 2 %


class Keeper(keras.callbacks.Callback):
    """Keeps one fit's state and the rows of its epochs. It comes after all callbacks that change what it keeps.

    Args:
        variables: all that the fit's continuation depends on.
        state: where they are kept.
        label: names the fit in its state and messages.
        on_epoch: called with all rows so far after each epoch, and once when resuming.
        counters: gives more of it, which is put back at the very moment alone: the metrics so far, Keras' own seed.
        gradients: measures what a row holds too; None for nobody.
        look: called before a save; raises where a step that is not yet looked at was not finite.
        every: seconds from a save to the next within an epoch, at least 50 times as long as the last save took, so that
            saves take under 2 % of a fit; 0 saves after each step.

    Attributes:
        rows: one for each epoch that is done.
        steps: of the epoch that is being trained, those that are done.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        state: StateFolder,
        label: str,
        on_epoch: Callable[[list[Row]], None],
        *,
        counters: Callable[[], Sequence[Any]] = tuple,
        gradients: GradientWatch | None = None,
        look: Callable[[], None] = lambda: None,
        every: float = 60.0,
    ):
        super().__init__()
        self.variables, self.counters, self.state, self.label = list(variables), counters, state, label
        self.on_epoch, self.gradients, self.look, self.every = on_epoch, gradients, look, every
        self.rows: list[Row] = []
        self.steps, self.started, self.saved, self.took = 0, 0.0, 0.0, 0.0
        self._taken = (1, 0)  # epoch and step, from 1, of the last one that was taken
        self.figures: Sequence[str] = ()
        self._found: tuple[list[np.ndarray], dict[str, Any]] | None = None

    def resume(self) -> tuple[int, int]:
        """Take over what the state holds of this fit; returns how many epochs are done, and steps of the next one."""
        found = self.state.load()
        if found is None or found[1].get("label") != self.label:
            return 0, 0
        self._found = found
        with as_saved(self.state.folder):
            assign(self.variables, found[0][: len(self.variables)])
            self.rows, steps = list(found[1]["rows"]), int(found[1].get("steps", 0))
        if self.rows:
            self.on_epoch(self.rows)
        return len(self.rows), steps

    def put_back(self) -> Sequence[str]:
        """Let all be as it was when the state was saved; returns the names of the figures that the last step gave."""
        if self._found is None:
            return ()
        (arrays, meta), self._found = self._found, None
        with as_saved(self.state.folder):
            assign([*self.variables, *self.counters()], arrays)
            generators.put_back(meta["generators"])
            self.steps, self.started, self.figures = meta["steps"], time.monotonic() - meta["seconds"], meta["figures"]
            if self.steps and self.gradients:
                self.gradients.go_on(meta["gradients"])
        return self.figures

    def on_train_begin(self, logs: Any = None) -> None:
        self.saved = time.monotonic()
        # A state of an earlier version has no generators, and is of an epoch's end.
        if self._found is not None and "generators" in self._found[1] and not self._found[1]["steps"]:
            self.put_back()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.steps, self.started = 0, time.monotonic()
        self._taken = (epoch + 1, 0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps, self.figures = batch + 1, list(logs or ())
        self._taken = (self._taken[0], batch + 1)
        if is_asked() or time.monotonic() - self.saved >= self._wait():
            self.save()
            stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        bad = next((name for name in ("loss", *figures) if not math.isfinite(figures.get(name, math.nan))), None)
        if bad is not None:
            raise RunError(
                f"{self.label}: the {bad} is {figures.get(bad)} after epoch {epoch + 1}. A lower learning_rate, or "
                "clip_norm = 1.0 under [train], usually mends this. Nothing of this epoch was kept."
            )
        took = {"seconds": round(time.monotonic() - self.started, 3), "steps": self.steps}
        self.rows.append({"epoch": epoch + 1, **figures, **took, **self._measured()})
        self.steps = 0
        self.save()
        self.on_epoch(self.rows)

    def save(self) -> None:
        """Save the state as it is now.

        Raises:
            RunError: when a step before it, or a weight, is not finite.
        """
        began = time.monotonic()
        self.look()
        kept = [*self.variables, *self.counters()]
        arrays = [keras.ops.convert_to_numpy(v.value) for v in kept]
        refuse_infinite(self.label, self.variables, arrays[: len(self.variables)], *self._taken)
        meta = {
            "label": self.label,
            "rows": self.rows,
            "steps": self.steps,
            "figures": self.figures,
            "seconds": time.monotonic() - self.started,
            "gradients": self._measured(),
            "generators": generators.taken(),
        }
        self.state.save(arrays, meta)
        self.saved = time.monotonic()
        self.took = self.saved - began

    def _wait(self) -> float:
        """Seconds from the last save to the next within an epoch."""
        return max(self.every, _TIMES * self.took) if self.every else 0.0

    def _measured(self) -> dict[str, float]:
        return self.gradients.figures if self.gradients else {}


@contextmanager
def as_saved(place: Path) -> Iterator[None]:
    """Turn what a whole file of another form raises, such as a stranger's, into one error that names its place."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise RunError(
            f"{place} holds a state that is not this fit's ({one_line(error)}). Remove it: then the same command "
            "begins this fit again."
        ) from error


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Give variables the values of a state.

    Raises:
        ValueError: when they are not as many, of other shapes, or no numbers.
    """
    if len(variables) != len(arrays) or any(tuple(v.shape) != a.shape for v, a in zip(variables, arrays, strict=True)):
        raise ValueError("it is of another network")
    if any(array.dtype.kind not in "biufV" for array in arrays):  # V: bfloat16, which NumPy has no name for
        raise ValueError("it holds text")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
