"""What the end of a fit may make of the weights: their moving average, and batch-norm statistics estimated anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.batches import images_of
from kdrecipes.data.loader import Loader


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


@torch.no_grad()
def reestimate_batch_norm(model: keras.Model, loader: Loader, batches: int) -> None:
    """Replace the moving statistics of batch normalisation by plain means over the first batches of training images.

    For weights that changed at once, as by averaging, or statistics that lag behind (arXiv:1803.05407, section 3.2).
    Dropout acts as in training. Layers that are frozen stay as they are. Those of torch modules are treated alike.

    Args:
        model: the network.
        loader: the training batches, in the epoch it stands at.
        batches: how many; at most as many as there are.
    """
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    inside = [
        module
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.TorchModuleWrapper)
        for module in layer.module.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not (norms or inside) or not batches:
        return
    momenta = [norm.momentum for norm in (*norms, *inside)]
    for module in inside:
        module.reset_running_stats()
        module.momentum = None  # torch's word for a plain mean over all batches
    try:
        for done in range(min(batches, len(loader))):
            for norm in norms:
                norm.momentum = done / (done + 1)
            model(images_of(keras.utils.unpack_x_y_sample_weight(loader[done])[0]), training=True)
    finally:
        for norm, momentum in zip((*norms, *inside), momenta, strict=True):
            norm.momentum = momentum


class Finisher(keras.callbacks.Callback):
    """Averages after each step; before the last epoch's validation the student gets its final weights.

    Args:
        student: the network that learns.
        loader: the training batches.
        train: the resolved `[train]` or `[teacher.train]`: `ema`, `recalibrate_batch_norm`, `epochs`.
    """

    def __init__(self, student: keras.Model, loader: Loader, train: Mapping[str, Any]):
        super().__init__()
        self.student, self.loader, self.train = student, loader, train
        self.averages = Averages(student.trainable_variables, train["ema"]) if "ema" in train else None
        self.variables = self.averages.variables if self.averages else []
        self._last = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._last = epoch + 1 == self.train["epochs"]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.averages:
            self.averages.update()

    def on_test_begin(self, logs: Any = None) -> None:
        if not self._last:
            return
        if self.averages:
            self.averages.put()
        reestimate_batch_norm(self.student, self.loader, self.train.get("recalibrate_batch_norm", 0))
