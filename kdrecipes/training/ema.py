"""What the end of a fit may make of the weights: their moving average, and batch-norm statistics estimated anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.recipe.tables import TrainTable
from kdrecipes.training.batch_norm import reestimate_batch_norm


class Averages:
    """Exponential moving averages of variables (Polyak averaging; Tarvainen & Valpola, arXiv:1703.01780, equation 2).

    Step t takes the momentum min(momentum, (1 + t) / (10 + t)), so that the first steps, still near the random start,
    are soon forgotten.

    Args:
        averaged: the variables.
        momentum: share of the average that a step keeps, from 0 to below 1.

    Attributes:
        variables: the averages and the number of steps: what a state has to hold.
    """

    def __init__(self, averaged: Sequence[keras.Variable], momentum: float):
        self.averaged, self.momentum = list(averaged), momentum
        self._values = [keras.Variable(v.value.detach().clone(), trainable=False) for v in self.averaged]
        self._steps = keras.Variable(0, dtype="int64", trainable=False)
        self.variables = [*self._values, self._steps]

    @torch.no_grad()
    def update(self) -> None:
        """Take the variables as they are after a step into account."""
        step = int(self._steps.value)
        momentum = min(self.momentum, (1 + step) / (10 + step))
        torch._foreach_lerp_([v.value for v in self._values], [v.value for v in self.averaged], 1 - momentum)
        self._steps.assign(step + 1)

    def put(self) -> None:
        """Give the variables their averages."""
        for variable, average in zip(self.averaged, self._values, strict=True):
            variable.assign(average)


class Finisher(keras.callbacks.Callback):
    """Averages after each step; before the last epoch's validation the student gets its final weights.

    Args:
        student: the network that learns.
        loader: the training batches.
        train: `[train]` or `[teacher.train]`: `ema`, `recalibrate_batch_norm`, `epochs`.
    """

    def __init__(self, student: keras.Model, loader: Loader, train: TrainTable):
        super().__init__()
        self.student, self.loader, self.train = student, loader, train
        self.averages = Averages(student.trainable_variables, train.ema) if train.ema else None
        self.variables = self.averages.variables if self.averages else []
        self._last = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._last = epoch + 1 == self.train.epochs

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.averages:
            self.averages.update()

    def on_test_begin(self, logs: Any = None) -> None:
        if not self._last:
            return
        if self.averages:
            self.averages.put()
        reestimate_batch_norm(self.student, self.loader, self.train.recalibrate_batch_norm or 0)
