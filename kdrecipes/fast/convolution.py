"""Convolutions of all kinds, dense layers and the black border before them, by torch's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.fast.activations import ACTIVATIONS, activate, is_linear
from kdrecipes.fast.layout import Function, Layout, Native
from kdrecipes.fast.normalization import scale_and_offset
from kdrecipes.keras_private import kernel_variable, tensor_of
from kdrecipes.layers import EPSILON, StandardizedConv2D

layers = keras.layers
CONVOLUTIONS = (layers.Conv2D, StandardizedConv2D, layers.DepthwiseConv2D)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's "same": as many output pixels as size / stride, rounded up; the odd pixel goes behind."""
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2


def pad_same(
    x: torch.Tensor, kernel: Any, strides: Any, dilation: Any, mode: str = "constant"
) -> tuple[torch.Tensor, tuple[int, int]]:
    """What is left to pad for the operation itself, after padding by hand what it can't: sides that differ."""
    top, bottom = same_padding(x.shape[2], kernel[0], strides[0], dilation[0])
    left, right = same_padding(x.shape[3], kernel[1], strides[1], dilation[1])
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), mode=mode), (0, 0)


def convolution(
    layer: Any, border: tuple[int, int] = (0, 0), norm: Any = None, frozen: bool = False
) -> Function | None:
    """What a Conv2D or DepthwiseConv2D computes; None where it is left to Keras.

    Args:
        layer: the layer.
        border: rows and columns of black on both sides, from a padding layer before it.
        norm: a batch normalisation after it that its weights take in; only for a frozen one.
        frozen: use a copy of the weights as they are now.
    """
    if layer.padding not in ("same", "valid"):
        return None
    stored, bias = tensor_of(kernel_variable(layer)), tensor_of(layer.bias) if layer.use_bias else None
    strides, dilation, size = layer.strides, layer.dilation_rate, layer.kernel_size
    groups = stored.shape[2] if is_depthwise(layer) else layer.groups
    # With one pixel at a stride of one there is nothing to pad.
    same = layer.padding == "same" and (tuple(size) != (1, 1) or tuple(strides) != (1, 1))
    fixed = folded(torch_kernel(layer, stored), bias, norm) if frozen else None

    def function(x: Any, training: bool | None) -> Any:
        padding = border
        if same:
            x, padding = pad_same(x, size, strides, dilation)
        kernel, offset = fixed or (torch_kernel(layer, stored), bias)
        if tuple(dilation) == (1, 1):
            kernel, padding = crop(x, kernel, strides, padding)
        one_tap = kernel.shape[1:] == (1, 1, 1) and tuple(strides) == (1, 1) and padding == (0, 0)
        if one_tap and groups == kernel.shape[0] == x.shape[1]:
            y = x * kernel.view(1, -1, 1, 1)  # torch's convolution is slow at this
            return activate(layer, y if offset is None else y + offset.view(1, -1, 1, 1))
        return activate(layer, F.conv2d(x, kernel, offset, strides, padding, dilation, groups))

    return function


def crop(
    x: torch.Tensor, kernel: torch.Tensor, strides: Any, padding: tuple[int, int]
) -> tuple[torch.Tensor, tuple[int, int]]:
    """The part of a kernel that ever meets a small image, and the padding left: of one pixel 5×5 taps see 24 zeros."""
    (top, height, above), (left, width, beside) = (
        taps_that_meet(x.shape[i], kernel.shape[i], strides[i - 2], padding[i - 2]) for i in (2, 3)
    )
    if (height, width) == tuple(kernel.shape[2:]):
        return kernel, padding
    return kernel[:, :, top : top + height, left : left + width], (above, beside)


def taps_that_meet(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int, int]:
    """Of a kernel's taps along one side, those that some position of it puts on the image.

    Args:
        size: pixels of the image.
        kernel: taps.
        stride: between positions.
        padding: pixels of black on both ends.

    Returns:
        The first tap, how many, and the padding on both ends that gives the same result with these; all of them where
        the two ends would need different ones.
    """
    last = (size + 2 * padding - kernel) // stride * stride  # where the last position begins, in the padded image
    first, end = max(0, padding - last), min(kernel, padding + size)
    before = padding - first
    after = last + end - first - size - before
    return (first, end - first, before) if before == after >= 0 else (0, kernel, padding)


def folded(kernel: torch.Tensor, bias: torch.Tensor | None, norm: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Copies of a convolution's kernel and bias that take in the batch normalisation after it, computed in float64."""
    memory = torch.channels_last if kernel.shape[1] > 1 else torch.contiguous_format
    if norm is None:
        return kernel.detach().clone(memory_format=memory), None if bias is None else bias.detach().clone()
    weight, offset = scale_and_offset(norm)
    mean, variance = (tensor_of(v).double() for v in (norm.moving_mean, norm.moving_variance))
    scale = (variance + norm.epsilon).rsqrt() * (1.0 if weight is None else weight.detach().double())
    shift = (0.0 if bias is None else bias.detach().double()) - mean
    shift = shift * scale + (0.0 if offset is None else offset.detach().double())
    scaled = (kernel.detach().double() * scale.view(-1, 1, 1, 1)).to(kernel.dtype)
    return scaled.contiguous(memory_format=memory), shift.to(kernel.dtype)


def is_depthwise(layer: Any) -> bool:
    """Whether a convolution is one for each channel."""
    return type(layer) is layers.DepthwiseConv2D


def kernel_of(layer: Any) -> torch.Tensor | None:
    """A convolution's variable, in Keras' shape; None for other layers."""
    return tensor_of(kernel_variable(layer)) if type(layer) in CONVOLUTIONS else None


def torch_kernel(layer: Any, stored: torch.Tensor) -> torch.Tensor:
    """What a convolution makes of its variable, as torch wants it: (out, in / groups, height, width)."""
    if not is_depthwise(layer):
        kernel = stored.permute(3, 2, 0, 1)
        return standardized(kernel) if type(layer) is StandardizedConv2D else kernel
    height, width, channels, multiplier = stored.shape
    return stored.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


def standardized(kernel: torch.Tensor) -> torch.Tensor:
    """Each filter of an (out, in, height, width) kernel with mean 0 and variance 1, as StandardizedConv2D has it."""
    with torch.autocast(kernel.device.type, enabled=False):
        variance, mean = torch.var_mean(kernel, (1, 2, 3), correction=0, keepdim=True)
        return (kernel - mean) * (variance + EPSILON).rsqrt()


def _convolution(layer: Any) -> Native | None:
    function = convolution(layer)
    return None if function is None else Native(function, Layout.IMAGE, Layout.IMAGE, leaves=is_linear(layer))


def _separable_convolution(layer: Any) -> Native | None:
    if layer.padding not in ("same", "valid"):
        return None
    depthwise, pointwise = tensor_of(layer.depthwise_kernel), tensor_of(layer.pointwise_kernel)
    bias = tensor_of(layer.bias) if layer.use_bias else None
    strides, dilation, size = layer.strides, layer.dilation_rate, layer.kernel_size
    channels, multiplier = depthwise.shape[2:]

    def function(x: Any, training: bool | None) -> Any:
        padding = (0, 0)
        if layer.padding == "same":
            x, padding = pad_same(x, size, strides, dilation)
        first = depthwise.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, *size)
        x = F.conv2d(x, first, None, strides, padding, dilation, channels)
        return activate(layer, F.conv2d(x, pointwise.permute(3, 2, 0, 1), bias))

    return Native(function, Layout.IMAGE, Layout.IMAGE)


def _dense(layer: Any) -> Native:
    kernel, bias = tensor_of(kernel_variable(layer)), tensor_of(layer.bias) if layer.use_bias else None

    def function(x: Any, training: bool | None) -> Any:
        y = F.linear(x, kernel.T, bias)
        return layer.activation(y) if layer.activation not in ACTIVATIONS else ACTIVATIONS[layer.activation](y)

    return Native(function, Layout.KERAS, Layout.KERAS)


def _zero_padding(layer: Any) -> Native:
    (top, bottom), (left, right) = layer.padding
    return Native(lambda x, training: F.pad(x, (left, right, top, bottom)), Layout.IMAGE, Layout.IMAGE)


MAKERS: dict[type, Callable[[Any], Native | None]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    layers.SeparableConv2D: _separable_convolution,
    layers.Dense: _dense,
    layers.ZeroPadding2D: _zero_padding,
}
