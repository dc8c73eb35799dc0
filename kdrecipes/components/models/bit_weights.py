"""Where BiT's weights come from, and how Google's, timm's and Hugging Face's files name and order their arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdrecipes.components.models.bit_sizes import Size
from kdrecipes.components.models.weights import Source, load_arrays, load_keras_weights, read_arrays
from kdrecipes.disk.download import check_sha256, fetch
from kdrecipes.errors import EnvironmentProblem

if TYPE_CHECKING:
    import keras
    import numpy as np


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


# Google's own files. It publishes no sha256 of them; what was loaded is in the report (`teacher.sha256`).
PUBLIC = {
    "imagenet21k": "https://storage.googleapis.com/bit_models/BiT-M-{name}.npz",
    "imagenet": "https://storage.googleapis.com/bit_models/BiT-M-{name}-ILSVRC2012.npz",
}


def weights_file(weights: str, name: str, sha256: str | None = None) -> Path:
    """The file that the option `weights` names: "imagenet21k" or "imagenet", which are downloaded once, or a path.

    Args:
        weights: the option.
        name: of the network in the public files' names, "R50x1".
        sha256: what a downloaded file must have, hex; None for any.
    """
    return fetch(PUBLIC[weights].format(name=name), sha256) if weights in PUBLIC else Path(weights)


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
    unused = _other_head(model, layout, arrays)
    load_arrays(
        [source for source in sources[known] if source.name not in unused],
        arrays,
        unused,
        f"weights = {str(path)!r}, read as {known} layout, does not fit {model.name}",
    )


def _other_head(model: keras.Model, layout: Layout, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the head's arrays where the head is of another width than the model's, else none."""
    # where each array has its classes
    axes = {layout.head + layout.weight: layout.head_kernel[-1], layout.head + layout.bias: 0}
    widths = {n for name, axis in axes.items() if name in arrays for n in arrays[name].shape[axis:][:1]}
    return list(axes) if widths and model.get_layer("logits").units not in widths else []


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
