"""Telling terms and their weights how far training is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.training.loss_parts import LossParts


class TermProgress(keras.callbacks.Callback):
    """Tells terms how far training is, in epochs, and the loss's parts the share of the fit that is done.

    Both are counted from the fit's first epoch: of a fit that goes on from epoch 3 they are what they would have been.
    Data of unknown length are as long as in the epoch before.

    Args:
        scheduled: terms with a method `at`.
        parts: whose weights may change.
        epochs: of the fit.
    """

    def __init__(self, scheduled: Sequence[Any], parts: LossParts, epochs: int):
        super().__init__()
        self.scheduled, self.parts, self.epochs = scheduled, parts, epochs
        self.epoch = self.seen = self.steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        steps = self.params.get("steps") or self.steps
        done = self.epoch + (min(batch / steps, 1.0) if steps else 0.0)
        self.parts.at(min(done / self.epochs, 1.0))
        for term in self.scheduled:
            term.at(done)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen = batch + 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.steps = self.seen


def told(terms: Sequence[Any], parts: LossParts, epochs: int, callbacks: Any) -> Any:
    """The callbacks of a fit, and one more where terms have a method `at(progress)` or a weight that changes.

    Args:
        terms: distillation terms.
        parts: the loss's.
        epochs: of the fit.
        callbacks: as `fit` takes them: None, one, a list, or a `CallbackList`, which is added to in place.
    """
    scheduled = [term for term in terms if hasattr(term, "at")]
    if not scheduled and not any(parts.changes):
        return callbacks
    progress = TermProgress(scheduled, parts, epochs)
    if isinstance(callbacks, keras.callbacks.CallbackList):
        progress.set_params(callbacks.params)
        callbacks.callbacks.append(progress)
        return callbacks
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    return [*given, progress]
