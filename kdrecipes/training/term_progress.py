"""Telling terms with a schedule how far training is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdrecipes.backend import keras


class TermProgress(keras.callbacks.Callback):
    """Tells terms how far training is, in epochs. Data of unknown length are as long as in the epoch before."""

    def __init__(self, scheduled: Sequence[Any]):
        super().__init__()
        self.scheduled = scheduled
        self.epoch = self.seen = self.steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        steps = self.params.get("steps") or self.steps
        for term in self.scheduled:
            term.at(self.epoch + (min(batch / steps, 1.0) if steps else 0.0))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen = batch + 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.steps = self.seen


def told(terms: Sequence[Any], callbacks: Any) -> Any:
    """The callbacks of a fit, and one more where terms have a method `at(progress)`.

    Args:
        terms: distillation terms.
        callbacks: as `fit` takes them: None, one, a list, or a `CallbackList`, which is added to in place.
    """
    scheduled = [term for term in terms if hasattr(term, "at")]
    if not scheduled:
        return callbacks
    if isinstance(callbacks, keras.callbacks.CallbackList):
        progress = TermProgress(scheduled)
        progress.set_params(callbacks.params)
        callbacks.callbacks.append(progress)
        return callbacks
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    return [*given, TermProgress(scheduled)]
