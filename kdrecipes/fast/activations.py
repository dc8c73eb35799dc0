"""Activations, what else computes each number by itself, and dropout, by torch's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.fast.layout import Layout, Native

layers = keras.layers

ACTIVATIONS: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
    keras.activations.linear: lambda x: x,
    keras.activations.relu: torch.relu,
    keras.activations.relu6: F.relu6,
    keras.activations.sigmoid: torch.sigmoid,
    keras.activations.tanh: torch.tanh,
    keras.activations.silu: F.silu,
    keras.activations.hard_silu: F.hardswish,
    keras.activations.hard_sigmoid: F.hardsigmoid,
    keras.activations.gelu: F.gelu,
    keras.activations.elu: F.elu,
    keras.activations.selu: F.selu,
    keras.activations.mish: F.mish,
    keras.activations.softplus: F.softplus,
}


def is_linear(layer: Any) -> bool:
    """Whether a layer has no activation."""
    return layer.activation in (None, keras.activations.linear)


def activate(layer: Any, y: torch.Tensor) -> torch.Tensor:
    """A layer's activation as it is now, of an image-layout or other tensor; Keras' own where torch has none."""
    function = ACTIVATIONS.get(layer.activation or keras.activations.linear)
    if function is not None:
        return function(y)
    return layer.activation(y.movedim(1, -1)).movedim(-1, 1) if y.ndim == 4 else layer.activation(y)


_IN_PLACE: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
    torch.relu: torch.relu_,
    F.relu6: lambda x: F.hardtanh_(x, 0.0, 6.0),
}
_FROZEN_IN_PLACE = _IN_PLACE | {
    torch.sigmoid: torch.sigmoid_,
    F.silu: lambda x: F.silu(x, inplace=True),
    F.hardswish: lambda x: F.hardswish(x, inplace=True),
    F.hardsigmoid: lambda x: F.hardsigmoid(x, inplace=True),
}


def _activation(layer: Any) -> Native | None:
    function = ACTIVATIONS.get(layer.activation)
    return None if function is None else _elementwise(function)


def _elementwise(function: Callable[[Any], Any]) -> Native:
    def taking_training(f: Callable[[Any], Any] | None) -> Any:
        return None if f is None else lambda x, training: f(x)

    over, frozen_over = (table.get(function) for table in (_IN_PLACE, _FROZEN_IN_PLACE))
    return Native(
        taking_training(function),
        Layout.ANY,
        Layout.ANY,
        in_place=taking_training(over),
        frozen_in_place=taking_training(frozen_over),
    )


def _relu(layer: Any) -> Native | None:
    if layer.threshold != 0:
        return None
    slope, top = float(layer.negative_slope), layer.max_value
    if slope == 0:
        if top is None:
            return _elementwise(torch.relu)
        return _elementwise(F.relu6) if top == 6 else _elementwise(lambda x: F.hardtanh(x, 0.0, float(top)))
    return _elementwise(lambda x: F.leaky_relu(x, slope)) if top is None else None


def _leaky_relu(layer: Any) -> Native:
    slope = float(layer.negative_slope)
    return _elementwise(lambda x: F.leaky_relu(x, slope))


def _rescaling(layer: Any) -> Native | None:
    scale, offset = layer.scale, layer.offset
    if not isinstance(scale, int | float) or not isinstance(offset, int | float):
        return None
    return _elementwise(lambda x: x * scale + offset)


def _dropout(layer: Any) -> Native:
    stock = type(layer).call  # its random numbers are Keras' own
    shape = layer.noise_shape
    if shape is not None and len(shape) == 4 and shape[0] is None and set(shape[1:]) == {1}:
        # Whole examples are dropped (stochastic depth): one factor for each, in place of a mask as large as the images.
        return Native(
            lambda x, training: x * stock(layer, x.new_ones(len(x), 1, 1, 1), training=True) if training else x,
            Layout.ANY,
            Layout.ANY,
            ranks=(4,),
        )
    return Native(lambda x, training: stock(layer, x, training=True) if training else x, Layout.KERAS, Layout.KERAS)


MAKERS: dict[type, Callable[[Any], Native | None]] = {
    layers.Activation: _activation,
    layers.ReLU: _relu,
    layers.LeakyReLU: _leaky_relu,
    layers.Rescaling: _rescaling,
    layers.Dropout: _dropout,
}
