"""BiT-M: the pre-activation ResNets with group norm and weight standardisation of "Big Transfer" (arXiv:1912.11370).

The graph is that of the paper's published code: explicit zero padding and "valid" convolutions, since TensorFlow's
"same" pads strided ones unevenly; zeros around the max pooling, whose input is signed; no normalisation behind the
stem. Every convolution is standardised and has no bias.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdrecipes.download import check_sha256, fetch
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.hookspecs import Component
from kdrecipes.models.weights import Source, load_arrays, load_keras_weights, read_arrays

if TYPE_CHECKING:
    import keras

GROUPS, EPSILON = 32, 1e-5  # Keras' group norm would take 1e-3
STAGE_FILTERS = (64, 128, 256, 512)  # of the 3×3 convolutions; a stage gives out four times as many


class Size(NamedTuple):
    """Units of each stage, and the factor on all widths."""

    units: tuple[int, int, int, int]
    width: int


SIZES = {
    "bit_m_r50x1": Size((3, 4, 6, 3), 1),
    "bit_m_r101x1": Size((3, 4, 23, 3), 1),
}


def bit(classes: int, image_size: int, size: Size, name: str = "bit") -> keras.Model:
    """A BiT network with random weights and a head of zeros, as BiT starts a transfer.

    Args:
        classes: width of the logits.
        image_size: pixels per side of the input; the network divides it by 32.
        size: its depth and width.
        name: the model's.

    Returns:
        A model from RGB pixels, float (batch, image_size, image_size, 3) in 0–255, to logits (batch, classes).
    """
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_unit_range")(pixels)
    x = layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = _convolution(x, 64 * size.width, "stem_conv", kernel=7, stride=2)
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool")(x)
    for block, (units, filters) in enumerate(zip(size.units, STAGE_FILTERS, strict=True), 1):
        for unit in range(1, units + 1):
            stride = 2 if block > 1 and unit == 1 else 1
            x = _unit(x, filters * size.width, stride, unit == 1, f"block{block}_unit{unit:02}")
    x = layers.GlobalAveragePooling2D(name="head_pool")(_norm_relu(x, "head"))
    logits = layers.Dense(classes, kernel_initializer="zeros", name="logits")(x)
    return keras.Model(pixels, logits, name=name)


def _unit(x: keras.KerasTensor, filters: int, stride: int, projects: bool, name: str) -> keras.KerasTensor:
    """A bottleneck; the shortcut's projection takes the activated input, and nothing follows the sum."""
    from keras import layers

    shortcut = x
    x = _norm_relu(x, f"{name}_a")
    if projects:
        shortcut = _convolution(x, 4 * filters, f"{name}_proj", stride=stride)
    x = _norm_relu(_convolution(x, filters, f"{name}_a_conv"), f"{name}_b")
    x = layers.ZeroPadding2D(1, name=f"{name}_b_pad")(x)
    x = _norm_relu(_convolution(x, filters, f"{name}_b_conv", kernel=3, stride=stride), f"{name}_c")
    return layers.Add(name=f"{name}_add")([_convolution(x, 4 * filters, f"{name}_c_conv"), shortcut])


def _convolution(x: keras.KerasTensor, filters: int, name: str, kernel: int = 1, stride: int = 1) -> keras.KerasTensor:
    from kdrecipes.models.standardized import StandardizedConv2D

    return StandardizedConv2D(filters, kernel, stride, use_bias=False, kernel_initializer="lecun_normal", name=name)(x)


def _norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    x = layers.GroupNormalization(GROUPS, epsilon=EPSILON, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


# --- weights ---------------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """How a file names its arrays and orders their axes.

    Attributes:
        stem, conv, unit_norm, proj, norm, head: names without their ends, where {b} is the block and {u} the unit,
            both from 1, {s} and {l} the same from 0, and {p} the part of the unit.
        parts: what {p} is for the three parts.
        kernel, head_kernel: the axes that bring a convolution's kernel, and the head's, to Keras' order.
        weight, bias: the ends of the names of convolutions and of the head.
        scale, offset: those of normalisations.
    """

    stem: str
    conv: str
    unit_norm: str
    proj: str
    norm: str
    head: str
    parts: tuple[str, str, str]
    kernel: tuple[int, ...]
    weight: str
    bias: str
    scale: str
    offset: str
    head_kernel: tuple[int, ...]


_OIHW = (2, 3, 1, 0)
LAYOUTS = {
    "Google's": Layout(
        stem="resnet/root_block/standardized_conv2d",
        conv="resnet/block{b}/unit{u:02}/{p}/standardized_conv2d",
        unit_norm="resnet/block{b}/unit{u:02}/{p}/group_norm",
        proj="resnet/block{b}/unit{u:02}/a/proj/standardized_conv2d",
        norm="resnet/group_norm",
        head="resnet/head/conv2d",
        parts=("a", "b", "c"),
        kernel=(0, 1, 2, 3),
        weight="/kernel",
        bias="/bias",
        scale="/gamma",
        offset="/beta",
        head_kernel=(0, 1, 2, 3),
    ),
    "timm's": Layout(
        stem="stem.conv",
        conv="stages.{s}.blocks.{l}.conv{p}",
        unit_norm="stages.{s}.blocks.{l}.norm{p}",
        proj="stages.{s}.blocks.{l}.downsample.conv",
        norm="norm",
        head="head.fc",
        parts=("1", "2", "3"),
        kernel=_OIHW,
        weight=".weight",
        bias=".bias",
        scale=".weight",
        offset=".bias",
        head_kernel=_OIHW,
    ),
    "Hugging Face's": Layout(
        stem="bit.embedder.convolution",
        conv="bit.encoder.stages.{s}.layers.{l}.conv{p}",
        unit_norm="bit.encoder.stages.{s}.layers.{l}.norm{p}",
        proj="bit.encoder.stages.{s}.layers.{l}.downsample.conv",
        norm="bit.norm",
        head="classifier.1",
        parts=("1", "2", "3"),
        kernel=_OIHW,
        weight=".weight",
        bias=".bias",
        scale=".weight",
        offset=".bias",
        head_kernel=(1, 0),
    ),
}


def load_weights(model: keras.Model, size: Size, path: Path, sha256: str | None = None) -> None:
    """Load a published file, or one of our own; a head of another width than the model's is left out.

    Args:
        model: of `bit`.
        size: its size.
        path: Google's `.npz`, timm's or Hugging Face's `.safetensors`, or a `.weights.h5` of this same model.
        sha256: what the file must have, hex; None for any.

    Raises:
        EnvironmentProblem: the file is missing, damaged, of another kind or of another network: it names the arrays.
    """
    if sha256 is not None and path.is_file():
        check_sha256(path, sha256)
    if path.name.endswith(".h5"):
        load_keras_weights(model, path)
        return
    if path.suffix not in (".npz", ".safetensors"):
        raise EnvironmentProblem(
            f"weights = {str(path)!r}: must be Google's .npz, timm's or Hugging Face's .safetensors, or a .weights.h5 "
            "file that Keras saved."
        )
    arrays = {_plain(name): array for name, array in read_arrays(path).items()}
    sources = {known: list(_sources(model, size, layout)) for known, layout in LAYOUTS.items()}
    known = max(LAYOUTS, key=lambda known: sum(source.name in arrays for source in sources[known]))
    layout = LAYOUTS[known]
    if not any(source.name in arrays for source in sources[known]):
        some = ", ".join(sorted(arrays)[:3]) or "none"
        raise EnvironmentProblem(
            f"weights = {str(path)!r}: holds no BiT network: its stem would be named "
            f"{', '.join(la.stem + la.weight for la in LAYOUTS.values())}. Its first arrays: {some}."
        )
    head = [layout.head + layout.weight, layout.head + layout.bias]
    wanted = model.get_layer("logits").units
    shapes = {name: arrays[name].shape for name in head if name in arrays}
    widths = {n for name, shape in shapes.items() for n in shape[_head_axis(layout, name) :][:1]}
    unused = head if widths and wanted not in widths else []
    load_arrays(
        [source for source in sources[known] if source.name not in unused],
        arrays,
        unused,
        f"weights = {str(path)!r}, read as {known} layout, does not fit {model.name}",
    )


def _head_axis(layout: Layout, name: str) -> int:
    """Where a head's array has its classes."""
    return layout.head_kernel[-1] if name.endswith(layout.weight) else 0


def _plain(name: str) -> str:
    """Some of Google's files number the convolutions: standardized_conv2d_17."""
    return re.sub(r"/standardized_conv2d_\d+/", "/standardized_conv2d/", name)


def _sources(model: keras.Model, size: Size, layout: Layout) -> Iterator[Source]:
    """Each variable of the model with its array."""

    def conv(layer: str, name: str) -> Source:
        return Source(model.get_layer(layer).kernel, name + layout.weight, layout.kernel)

    def norm(layer: str, name: str) -> Iterator[Source]:
        found = model.get_layer(layer)
        yield Source(found.gamma, name + layout.scale, (0,))
        yield Source(found.beta, name + layout.offset, (0,))

    yield conv("stem_conv", layout.stem)
    for block, units in enumerate(size.units, 1):
        for unit in range(1, units + 1):
            place = {"b": block, "u": unit, "s": block - 1, "l": unit - 1}
            mine = f"block{block}_unit{unit:02}"
            for ours, theirs in zip("abc", layout.parts, strict=True):
                yield conv(f"{mine}_{ours}_conv", layout.conv.format(**place, p=theirs))
                yield from norm(f"{mine}_{ours}_norm", layout.unit_norm.format(**place, p=theirs))
            if unit == 1:
                yield conv(f"{mine}_proj", layout.proj.format(**place))
    yield from norm("head_norm", layout.norm)
    head = model.get_layer("logits")
    yield Source(head.kernel, layout.head + layout.weight, layout.head_kernel)
    yield Source(head.bias, layout.head + layout.bias, (0,))


# --- components ------------------------------------------------------------------------------------------------------


# Google's own files. It publishes no sha256 of them; what was loaded is in the report (`teacher.sha256`).
PUBLIC = {
    "imagenet21k": "https://storage.googleapis.com/bit_models/BiT-M-{name}.npz",
    "imagenet": "https://storage.googleapis.com/bit_models/BiT-M-{name}-ILSVRC2012.npz",
}


def _component(name: str, title: str, millions: float) -> Component:
    def build(classes: int, image_size: int, weights: str = "imagenet21k", sha256: str | None = None) -> keras.Model:
        model = bit(classes, image_size, SIZES[name], name)
        if weights != "none":
            path = fetch(PUBLIC[weights].format(name=title), sha256) if weights in PUBLIC else Path(weights)
            load_weights(model, SIZES[name], path, sha256)
        return model

    return Component(
        kind="model",
        name=name,
        build=build,
        summary=f"BiT-M-{title}, a pre-activation ResNet for transfer, {millions} M parameters without the head",
        options={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "classes": {"type": "integer"},
                "image_size": {"type": "integer", "minimum": 32},
                "weights": {
                    "anyOf": [
                        {"enum": ["none", *PUBLIC]},
                        {"type": "string", "minLength": 1, "format": "path"},
                    ],
                    "default": "imagenet21k",
                    "examples": ["imagenet21k", "imagenet", "none", "BiT-M-R50x1.npz"],
                    "x-rule": 'must be "none", "imagenet21k", "imagenet", or an .npz, .safetensors or .weights.h5 file',
                    "description": '"imagenet21k" or "imagenet" (downloads), "none", or a file: Google\'s .npz, '
                    "timm's or Hugging Face's .safetensors, or a .weights.h5 file of this same model. A head of "
                    "another width is left out; the new one begins at zero.",
                },
                "sha256": {
                    "type": "string",
                    "pattern": r"^[0-9a-f]{64}(?![\s\S])",
                    "x-rule": "must be 64 digits of 0 to 9 and a to f, as sha256sum prints them",
                    "description": "What the weights file must have; checked before it is read.",
                },
            },
        },
    )


COMPONENTS = [_component("bit_m_r50x1", "R50x1", 23.5), _component("bit_m_r101x1", "R101x1", 42.5)]
