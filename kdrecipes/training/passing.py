"""A fit that goes on in the middle of an epoch: the steps that are done are passed over, and nobody hears of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader


class Passing(keras.callbacks.CallbackList):
    """The callbacks of such a fit.

    Keras goes through the whole epoch. The loader gives nothing for a batch that is done, the network does not see it,
    and callbacks hear of batches from the first that is not, under its own number. With the last one that is done the
    state is put back: at the very moment of an epoch at which it was taken, so that whatever Keras draws from a
    generator before or after is drawn as it was.

    Args:
        callbacks: of the fit.
        model: what is trained.
        loader: the training batches.
        epochs: of the fit.
        epoch: the one that goes on, from 0.
        steps: of it that are done, at least 1.
        put_back: puts the state back; gives the names of the figures that the last step that is done gave.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        model: keras.Model,
        loader: Loader,
        *,
        epochs: int,
        epoch: int,
        steps: int,
        put_back: Callable[[], Sequence[str]],
    ):
        super().__init__(list(callbacks), add_history=True, model=model, epochs=epochs, steps=len(loader), verbose=0)
        self.loader, self.epoch, self.steps, self.put_back = loader, epoch, steps, put_back
        self._batch = 0
        model.make_train_function()
        self._step = model.train_function
        model.train_function = self._step_or_none

    def _step_or_none(self, data: Any) -> dict[str, Any]:
        """A step, or of one that is done what Keras reads of it: of the last one the figures, where it is one."""
        if not self.loader.passed:
            return self._step(data)
        if self._batch + 1 < self.steps:
            return {}
        names = self.put_back()
        return {name: value for name, value in self.model.get_metrics_result().items() if name in names}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if epoch == self.epoch:
            self.loader.passed = self.steps

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._batch = batch
        if not self.loader.passed:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self.loader.passed:
            super().on_train_batch_end(batch, logs)
        elif batch + 1 == self.steps:
            self.loader.passed = 0
