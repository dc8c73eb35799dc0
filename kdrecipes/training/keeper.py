"""After each epoch: the loss checked, the epoch's figures added to its rows, the state saved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.training.finite import refuse_infinite
from kdrecipes.training.state import StateFolder

Row = dict[str, Any]


class Keeper(keras.callbacks.Callback):
    """Keeps one fit's state and the rows of its epochs.

    Args:
        variables: all that the fit's continuation depends on.
        state: where they are kept.
        label: names the fit in its state and messages.
        on_epoch: called with all rows so far after each epoch, and once when resuming.
        more: gives what else a row holds of the epoch that has just ended.

    Attributes:
        rows: one for each epoch that is done.
    """

    def __init__(
        self,
        variables: list[Any],
        state: StateFolder,
        label: str,
        on_epoch: Callable[[list[Row]], None],
        more: Callable[[], Row] = dict,
    ):
        super().__init__()
        self.variables, self.state, self.label, self.on_epoch, self.more = variables, state, label, on_epoch, more
        self.rows: list[Row] = []
        self.steps, self.started = 0, 0.0

    def resume(self) -> int:
        """Take over what the state holds of this fit; returns how many epochs are done."""
        if (found := self.state.load()) and found[1]["label"] == self.label:
            assign(self.variables, found[0])
            self.rows = found[1]["rows"]
            self.on_epoch(self.rows)
        return len(self.rows)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.steps, self.started = 0, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        bad = next((name for name in ("loss", *figures) if not math.isfinite(figures.get(name, math.nan))), None)
        if bad is not None:
            raise RunError(
                f"{self.label}: the {bad} is {figures.get(bad)} after epoch {epoch + 1}. A lower learning_rate, or "
                "clip_norm = 1.0 under [train], usually mends this. Nothing of this epoch was kept."
            )
        seconds = time.monotonic() - self.started
        took = {"seconds": round(seconds, 3), "steps": self.steps}
        self.rows.append({"epoch": epoch + 1, **figures, **took, **self.more()})
        arrays = [keras.ops.convert_to_numpy(v.value) for v in self.variables]
        refuse_infinite(self.label, self.variables, arrays)
        self.state.save(arrays, {"label": self.label, "rows": self.rows})
        self.on_epoch(self.rows)


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Give variables the values of a state.

    Raises:
        RunError: when they are not as many, or of other shapes.
    """
    if len(variables) != len(arrays) or any(tuple(v.shape) != a.shape for v, a in zip(variables, arrays, strict=True)):
        raise RunError("The saved state is of another network. Start again with --overwrite.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
