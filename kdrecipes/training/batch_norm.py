"""Batch normalisation's statistics, estimated anew at the end of a fit."""

from __future__ import annotations

from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.keras_private import flat_layers
from kdrecipes.training.batches import images_of


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
    norms, inside = _layers(model), _modules(model)
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


def slowest_momentum(model: keras.Model) -> float | None:
    """The largest share of its moving statistics that a batch normalisation of a network keeps in a step, 0 to 1.

    Torch's momentum is the share that it takes anew, and is told as 1 minus that. None where none learns.
    """
    kept = [float(layer.momentum) for layer in _layers(model)]
    # Torch's None is a plain mean over all batches, which keeps nothing of the start.
    kept += [0.0 if module.momentum is None else 1.0 - float(module.momentum) for module in _modules(model)]
    return max(kept, default=None)


def _layers(model: keras.Model) -> list[Any]:
    """Keras' batch normalisations that are not frozen."""
    return [
        layer for layer in flat_layers(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def _modules(model: keras.Model) -> list[Any]:
    """Those within torch modules that keep statistics."""
    return [
        module
        for layer in flat_layers(model)
        if isinstance(layer, keras.layers.TorchModuleWrapper)
        for module in layer.module.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
