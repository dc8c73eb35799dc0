"""Torch's own functions for single Keras layers: convolution, normalisation, pooling, activations, merges.

Images are computed channels first on channels-last memory: `x.permute(0, 3, 1, 2)` of Keras' (batch, height, width,
channels) is such a tensor, without a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.layers import EPSILON, StandardizedConv2D

Function = Callable[[Any, bool | None], Any]  # tensor (a list of them for merges), training → tensor
layers = keras.layers
CONVOLUTIONS = (layers.Conv2D, StandardizedConv2D, layers.DepthwiseConv2D)


class Layout(Enum):
    """How a native function's tensors are laid out."""

    IMAGE = "(batch, channels, height, width) on channels-last memory"
    KERAS = "as Keras has it, channels last"
    ANY = "takes either; gives what it takes"


class Native(NamedTuple):
    """A layer's computation by torch's own functions.

    Attributes:
        function: from a tensor, or a list of them for a merge, and `training`, to a tensor.
        takes, gives: the layouts of its inputs and output.
        leaves: whether autograd has no need of the output, which may then be changed in place.
        in_place: the same function writing over its input, where autograd can work from the output alone.
        frozen_in_place: the same where there is no autograd.
        ranks: how many dimensions its inputs may have, all the same; empty: 4 for images, else any.
    """

    function: Function
    takes: Layout
    gives: Layout
    leaves: bool = False
    in_place: Function | None = None
    frozen_in_place: Function | None = None
    ranks: tuple[int, ...] = ()


def fits(made: Native, ranks: list[int]) -> bool:
    """Whether inputs of these numbers of dimensions can be taken."""
    allowed = made.ranks or ((4,) if Layout.IMAGE in (made.takes, made.gives) else ())
    return len(set(ranks)) == 1 and (not allowed or ranks[0] in allowed)


def native(layer: Any) -> Native | None:
    """The native computation of a layer; None where it is left to Keras.

    Taken are exactly Keras' own classes and StandardizedConv2D (a subclass may compute anything), built, computing in
    float32, channels last, without an activity regulariser, rematerialisation, quantisation or LoRA.
    """
    make = _MAKERS.get(type(layer))
    if (
        make is None
        or not layer.built
        or layer.compute_dtype != "float32"
        or layer.variable_dtype != "float32"
        or getattr(layer, "data_format", "channels_last") != "channels_last"
        or layer.activity_regularizer is not None
        or layer._remat_mode is not None
        or getattr(layer, "quantization_mode", None) is not None
        or getattr(layer, "lora_enabled", False)
    ):
        return None
    return make(layer)


# --- activations -----------------------------------------------------------------------------------------------------

_ACTIVATIONS: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
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
    function = _ACTIVATIONS.get(layer.activation or keras.activations.linear)
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
    function = _ACTIVATIONS.get(layer.activation)
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


# --- convolution and dense -------------------------------------------------------------------------------------------


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
    bias = layer.bias._value if layer.use_bias else None
    strides, dilation, size = layer.strides, layer.dilation_rate, layer.kernel_size
    groups = layer.groups if not is_depthwise(layer) else torch_kernel(layer).shape[0] // layer.depth_multiplier
    # With one pixel at a stride of one there is nothing to pad.
    same = layer.padding == "same" and (tuple(size) != (1, 1) or tuple(strides) != (1, 1))
    fixed = folded(torch_kernel(layer), bias, norm) if frozen else None

    def function(x: Any, training: bool | None) -> Any:
        padding = border
        if same:
            x, padding = pad_same(x, size, strides, dilation)
        kernel, offset = fixed or (torch_kernel(layer), bias)
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
    weight, offset = _scale_and_offset(norm)
    mean, variance = norm.moving_mean._value.double(), norm.moving_variance._value.double()
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
    if type(layer) not in CONVOLUTIONS:
        return None
    return layer.kernel._value if is_depthwise(layer) else layer._kernel._value


def torch_kernel(layer: Any) -> torch.Tensor:
    """What a convolution uses as kernel, as torch wants it: (out, in / groups, height, width)."""
    if not is_depthwise(layer):
        kernel = layer._kernel._value.permute(3, 2, 0, 1)
        return standardized(kernel) if type(layer) is StandardizedConv2D else kernel
    kernel = layer.kernel._value
    height, width, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


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
    depthwise, pointwise = layer.depthwise_kernel._value, layer.pointwise_kernel._value
    bias = layer.bias._value if layer.use_bias else None
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
    kernel, bias = layer._kernel._value, layer.bias._value if layer.use_bias else None

    def function(x: Any, training: bool | None) -> Any:
        y = F.linear(x, kernel.T, bias)
        return layer.activation(y) if layer.activation not in _ACTIVATIONS else _ACTIVATIONS[layer.activation](y)

    return Native(function, Layout.KERAS, Layout.KERAS)


def _zero_padding(layer: Any) -> Native:
    (top, bottom), (left, right) = layer.padding
    return Native(lambda x, training: F.pad(x, (left, right, top, bottom)), Layout.IMAGE, Layout.IMAGE)


# --- normalisation ---------------------------------------------------------------------------------------------------


def _scale_and_offset(layer: Any) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    return (layer.gamma._value if layer.scale else None, layer.beta._value if layer.center else None)


def _batch_normalization(layer: Any) -> Native | None:
    if layer.axis not in (-1, 3) or layer.synchronized or layer.renorm:
        return None
    weight, bias = _scale_and_offset(layer)
    mean, variance = layer.moving_mean._value, layer.moving_variance._value
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
    weight, bias = _scale_and_offset(layer)
    groups, epsilon = layer.groups, layer.epsilon
    return Native(lambda x, training: F.group_norm(x, groups, weight, bias, epsilon), Layout.IMAGE, Layout.IMAGE)


def _layer_normalization(layer: Any) -> Native | None:
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if axes != [-1] or layer.rms_scaling or not (layer.scale and layer.center):
        return None
    weight, bias = _scale_and_offset(layer)
    shape, epsilon = tuple(weight.shape), layer.epsilon  # type: ignore[union-attr]
    return Native(lambda x, training: F.layer_norm(x, shape, weight, bias, epsilon), Layout.KERAS, Layout.KERAS)


# --- pooling and merges ----------------------------------------------------------------------------------------------


def _pooling(layer: Any) -> Native | None:
    size, strides = layer.pool_size, layer.strides
    if layer.padding not in ("same", "valid"):
        return None
    same = layer.padding == "same"

    def function(x: Any, training: bool | None) -> Any:
        padding = (0, 0)
        if same:  # where the sides differ Keras on torch repeats the edge
            x, padding = pad_same(x, size, strides, (1, 1), mode="replicate")
        if type(layer) is layers.MaxPooling2D:
            return F.max_pool2d(x, size, strides, padding)
        return F.avg_pool2d(x, size, strides, padding, count_include_pad=False)

    return Native(function, Layout.IMAGE, Layout.IMAGE)


def _global_pooling(layer: Any) -> Native:
    keep = layer.keepdims
    if type(layer) is layers.GlobalAveragePooling2D:
        return Native(
            lambda x, training: x.mean((2, 3), keepdim=keep), Layout.IMAGE, Layout.IMAGE if keep else Layout.KERAS
        )
    return Native(
        lambda x, training: x.amax((2, 3), keepdim=keep), Layout.IMAGE, Layout.IMAGE if keep else Layout.KERAS
    )


def _reshape(layer: Any) -> Native:
    return Native(lambda x, training: x.reshape(x.shape[0], *layer.target_shape), Layout.KERAS, Layout.KERAS)


def _add(layer: Any) -> Native:
    def function(x: Any, training: bool | None) -> Any:
        total = x[0] + x[1]
        for more in x[2:]:
            total = total + more
        return total

    return Native(function, Layout.ANY, Layout.ANY, leaves=True)


def _multiply(layer: Any) -> Native:
    def function(x: Any, training: bool | None) -> Any:
        product = x[0] * x[1]
        for more in x[2:]:
            product = product * more
        return product

    return Native(function, Layout.ANY, Layout.ANY)


def _concatenate(layer: Any) -> Native | None:
    if layer.axis not in (-1, 3):
        return None
    return Native(lambda x, training: torch.cat(x, 1), Layout.IMAGE, Layout.IMAGE)


_MAKERS: dict[type, Callable[[Any], Native | None]] = {
    layers.Activation: _activation,
    layers.ReLU: _relu,
    layers.LeakyReLU: _leaky_relu,
    layers.Rescaling: _rescaling,
    layers.Dropout: _dropout,
    layers.Conv2D: _convolution,
    StandardizedConv2D: _convolution,
    layers.DepthwiseConv2D: _convolution,
    layers.SeparableConv2D: _separable_convolution,
    layers.Dense: _dense,
    layers.ZeroPadding2D: _zero_padding,
    layers.BatchNormalization: _batch_normalization,
    layers.GroupNormalization: _group_normalization,
    layers.LayerNormalization: _layer_normalization,
    layers.MaxPooling2D: _pooling,
    layers.AveragePooling2D: _pooling,
    layers.GlobalAveragePooling2D: _global_pooling,
    layers.GlobalMaxPooling2D: _global_pooling,
    layers.Reshape: _reshape,
    layers.Add: _add,
    layers.Multiply: _multiply,
    layers.Concatenate: _concatenate,
}
