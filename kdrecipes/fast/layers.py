"""Native calls for convolution, depthwise convolution, padding and batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras

Call = Callable[..., Any]


def accelerate(model: keras.Model) -> keras.Model:
    """Make a model's layers use torch's own kernels, in place.

    Handles `Conv2D`, `DepthwiseConv2D`, `ZeroPadding2D` and `BatchNormalization` (exactly these classes, channels
    last, float32), nested models included; every other layer, dtype or option is left to Keras. Outputs, gradients and
    moving statistics agree with stock Keras to rounding.

    Args:
        model: a built Keras model.

    Returns:
        The same model.
    """
    for layer in model._flatten_layers():
        make = _NATIVE.get(type(layer))
        if make is not None and layer.built and layer.compute_dtype == "float32" and _channels_last(layer):
            layer.__dict__["call"] = make(layer, layer.call)
    return model


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _is_plain(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype == torch.float32 and x.ndim == 4


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's "same": as many output pixels as size / stride, rounded up; the odd pixel goes behind."""
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2


def _convolve(layer: Any, x: torch.Tensor, kernel: torch.Tensor, groups: int) -> torch.Tensor:
    """Convolve (batch, height, width, channels) without a layout copy: its permuted view is channels-last memory."""
    x = x.permute(0, 3, 1, 2)
    padding: tuple[int, int] = (0, 0)
    if layer.padding == "same":
        top, bottom = _same_padding(x.shape[2], kernel.shape[2], layer.strides[0], layer.dilation_rate[0])
        left, right = _same_padding(x.shape[3], kernel.shape[3], layer.strides[1], layer.dilation_rate[1])
        if (top, left) == (bottom, right):
            padding = (top, left)
        else:
            x = F.pad(x, (left, right, top, bottom))
    bias = layer.bias.value if layer.use_bias else None
    y = F.conv2d(x, kernel, bias, layer.strides, padding, layer.dilation_rate, groups)
    return layer.activation(y.permute(0, 2, 3, 1))


def _conv2d(layer: Any, stock: Call) -> Call:
    if layer.padding not in ("same", "valid"):
        return stock

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_plain(inputs):
            return stock(inputs, *args, **kwargs)
        kernel = keras.ops.convert_to_tensor(layer.kernel).permute(3, 2, 0, 1)
        return _convolve(layer, inputs, kernel, layer.groups)

    return call


def _depthwise_conv2d(layer: Any, stock: Call) -> Call:
    if layer.padding not in ("same", "valid"):
        return stock

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_plain(inputs):
            return stock(inputs, *args, **kwargs)
        kernel = keras.ops.convert_to_tensor(layer.kernel)
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        return _convolve(layer, inputs, kernel, channels)

    return call


def _zero_padding2d(layer: Any, stock: Call) -> Call:
    (top, bottom), (left, right) = layer.padding

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_plain(inputs):
            return stock(inputs, *args, **kwargs)
        return F.pad(inputs, (0, 0, left, right, top, bottom))

    return call


def _batch_normalization(layer: Any, stock: Call) -> Call:
    if layer.axis not in (-1, 3) or layer.synchronized:
        return stock

    def call(inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        if not _is_plain(inputs) or mask is not None or inputs.is_meta:
            return stock(inputs, training=training, mask=mask, **kwargs)
        x = inputs.permute(0, 3, 1, 2)
        weight = layer.gamma.value if layer.scale else None
        bias = layer.beta.value if layer.center else None
        mean, variance = layer.moving_mean.value, layer.moving_variance.value
        count = x.numel() // x.shape[1]
        if not (training and layer.trainable):
            return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, layer.epsilon).permute(0, 2, 3, 1)
        if count < 2:  # torch refuses to normalise one value per channel
            return stock(inputs, training=training, mask=mask, **kwargs)
        # With momentum 1 torch's "running" statistics are this batch's own; Keras keeps the biased variance.
        batch_mean, batch_variance = torch.zeros_like(mean), torch.zeros_like(variance)
        y = F.batch_norm(x, batch_mean, batch_variance, weight, bias, True, 1.0, layer.epsilon)
        with torch.no_grad():
            mean.lerp_(batch_mean, 1 - layer.momentum)
            variance.lerp_(batch_variance * ((count - 1) / count), 1 - layer.momentum)
        return y.permute(0, 2, 3, 1)

    return call


_NATIVE: dict[type, Callable[[Any, Call], Call]] = {
    keras.layers.Conv2D: _conv2d,
    keras.layers.DepthwiseConv2D: _depthwise_conv2d,
    keras.layers.ZeroPadding2D: _zero_padding2d,
    keras.layers.BatchNormalization: _batch_normalization,
}
