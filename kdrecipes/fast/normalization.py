"""Batch, group and layer normalisation by torch's own functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.fast.layout import Layout, Native
from kdrecipes.keras_private import tensor_of

layers = keras.layers


def scale_and_offset(layer: Any) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A normalisation's learnt factors and summands, one for each channel; None where it has none."""
    return (tensor_of(layer.gamma) if layer.scale else None, tensor_of(layer.beta) if layer.center else None)


def _batch_normalization(layer: Any) -> Native | None:
    if layer.axis not in (-1, 3) or layer.synchronized or layer.renorm:
        return None
    weight, bias = scale_and_offset(layer)
    mean, variance = tensor_of(layer.moving_mean), tensor_of(layer.moving_variance)
    epsilon = layer.epsilon
    stock = type(layer).call

    def function(x: Any, training: bool | None) -> Any:
        if not (training and layer.trainable):
            return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)
        count = x.numel() // x.shape[1]
        if count < 2:  # torch refuses to normalise one value per channel
            return stock(layer, x.movedim(1, -1), training=True).movedim(-1, 1)
        # Torch moves its variance towards n / (n − 1) times the batch's, Keras towards the batch's own: so what torch
        # moves is scaled by n / (n − 1) and back. `.data`: autograd would take this for a change of what it saved.
        moving = variance.data
        moving.mul_(count / (count - 1))
        y = F.batch_norm(x, mean, variance, weight, bias, True, 1 - layer.momentum, epsilon)
        moving.mul_((count - 1) / count)
        return y

    return Native(function, Layout.IMAGE, Layout.IMAGE, leaves=True, ranks=(2, 4))


def _group_normalization(layer: Any) -> Native | None:
    if layer.axis not in (-1, 3) or (layer.center and not layer.scale):  # torch's gradient fails for an offset alone
        return None
    weight, bias = scale_and_offset(layer)
    groups, epsilon = layer.groups, layer.epsilon
    stock = type(layer).call

    def function(x: Any, training: bool | None) -> Any:
        if math.prod(x.shape[1:]) == groups:  # one value a group: torch refuses it, or gives its rounding errors for 0
            return stock(layer, x.movedim(1, -1)).movedim(-1, 1)
        return F.group_norm(x, groups, weight, bias, epsilon)

    return Native(function, Layout.IMAGE, Layout.IMAGE)


def _layer_normalization(layer: Any) -> Native | None:
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if axes != [-1] or layer.rms_scaling or not (layer.scale and layer.center):
        return None
    weight, bias = scale_and_offset(layer)
    shape, epsilon = tuple(weight.shape), layer.epsilon  # type: ignore[union-attr]
    return Native(lambda x, training: F.layer_norm(x, shape, weight, bias, epsilon), Layout.KERAS, Layout.KERAS)


MAKERS: dict[type, Callable[[Any], Native | None]] = {
    layers.BatchNormalization: _batch_normalization,
    layers.GroupNormalization: _group_normalization,
    layers.LayerNormalization: _layer_normalization,
}
