"""Images and labels that are NumPy arrays: an .npz file, or a folder of .npy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kdrecipes.components.datasets.array_files import StoredArray, pairs_of, stored_arrays, weights_of
from kdrecipes.components.datasets.class_names import CLASSES_OPTION, UNLABELLED, WITHOUT_LABEL, no_class, numbered
from kdrecipes.components.datasets.pixels import Pixels
from kdrecipes.components.datasets.source import SPLIT_OPTION, ArraySource, file_facts, missing_split
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.hashing import digest

if TYPE_CHECKING:
    import numpy as np

_NONE = -1  # the number of an example without a label


@dataclass
class StoredSource(ArraySource):
    """An `ArraySource` of arrays in files; `labelled`, `weights` and `left_out` as other sources have them.

    `rows`: int64, where each example stands in the arrays.
    """

    labelled: bool = True
    left_out: dict[str, list[str]] = field(default_factory=dict)
    weights: np.ndarray | None = None
    rows: np.ndarray | None = None

    def listing(self) -> dict[str, list[tuple[str, int]]]:
        """Place and bytes of each image, by its class; all under the class "" where they have none."""
        pixels = cast("Pixels", self.images).array
        size = pixels[:1].nbytes if len(pixels) else 0
        found: dict[str, list[tuple[str, int]]] = {}
        for row, label in zip(cast("np.ndarray", self.rows).tolist(), self.labels.tolist(), strict=True):
            found.setdefault(self.classes[label] if self.labelled else "", []).append((f"{self.origin}[{row}]", size))
        return found


def build(
    split: str = "train",
    *,
    path: str,
    classes: list[str] | None = None,
    range: list[float] | None = None,
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
) -> StoredSource:
    """The source of a split's arrays; examples labelled -1, or with an empty text, are the split `unlabelled`."""
    import numpy as np

    place = Path(path).expanduser()
    try:
        arrays = stored_arrays(place)
        pairs, of_weights = pairs_of(arrays, images, labels), weights_of(arrays, weights)
        _refuse_forms(arrays, pairs, of_weights, range)
        names, numbers = _numbers(arrays, pairs, classes)
    except KDRecipesError as error:
        error.at("dataset.path")
        raise
    whole = {base: found for base, found in numbers.items() if (found != _NONE).any()}
    loose = [base for base, found in whole.items() if (found == _NONE).any()]
    if split == UNLABELLED and UNLABELLED not in pairs and len(loose) == 1:
        base, rows = loose[0], np.flatnonzero(whole[loose[0]] == _NONE)
    elif split in pairs:
        base = split
        rows = np.flatnonzero(numbers[base] != _NONE) if base in whole else np.arange(len(numbers[base]))
    else:
        raise missing_split(split, [*sorted(pairs), *([UNLABELLED] if len(loose) == 1 else [])])
    labelled = split in whole and split != UNLABELLED
    stored, found = arrays[pairs[base][0]], numbers[base]
    all_ = len(rows) == len(found)
    pixels = Pixels(stored.read(), stored.name, None if all_ else rows, range)
    weighed = np.reshape(arrays[of_weights[base]].read(), -1)[rows] if base in of_weights else None
    files = sorted({arrays[name].file for pair in [*pairs.values(), of_weights.values()] for name in pair if name})
    facts = file_facts(files, place if place.is_dir() else place.parent)
    left = [f"{stored.name}[{i}]" for i in np.flatnonzero(found == _NONE)] if split in loose else []
    return StoredSource(
        cast("np.ndarray", pixels),
        found[rows].astype(np.int64) if labelled else np.zeros(len(rows), np.int64),
        names,
        digest("arrays", split, names, facts, range, pairs[base], *([of_weights[base]] if base in of_weights else [])),
        stored.name,
        labelled,
        {WITHOUT_LABEL: left} if left else {},
        weighed,
        rows,
    )


def _refuse_forms(
    arrays: Mapping[str, StoredArray],
    pairs: Mapping[str, tuple[str, str | None]],
    weights: Mapping[str, str],
    value_range: Sequence[float] | None,
) -> None:
    """Refuse arrays of forms that are no images or labels, all at once."""
    if value_range is not None and not value_range[0] < value_range[1]:
        raise RunError(f"the first number must be below the second. Received: {value_range}").at("dataset.range")
    problems = []
    for split, (of_images, of_labels) in pairs.items():
        stored = arrays[of_images]
        problems += _image_problems(stored, value_range)
        for what, name in (("labels", of_labels), ("weights", weights.get(split))):
            if name is not None:
                found = _label_problems(arrays[name]) if what == "labels" else _weight_problems(arrays[name])
                found += _other_lengths(stored, arrays[name], what)
                problems += found if what == "labels" else [f'{one}; weights = "" reads none' for one in found]
    if problems:
        raise RunError("\n  ".join(["these arrays can't be used:", *problems]))


def _other_lengths(images: StoredArray, others: StoredArray, what: str) -> list[str]:
    if not images.shape or not others.shape or images.shape[0] == others.shape[0]:
        return []
    return [
        f"{images.name} holds {images.shape[0]} images and {others.name} {others.shape[0]} {what}: as many of both are "
        "needed"
    ]


def _weight_problems(stored: StoredArray) -> list[str]:
    shape, dtype = stored.shape, stored.dtype
    if dtype.kind not in "iuf":
        return [f"{stored.name} is {dtype}; weights are numbers: save weights.astype('float32')"]
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        return [f"{stored.name} has the shape {shape}; weights are (images,)"]
    return []


def _image_problems(stored: StoredArray, value_range: Sequence[float] | None) -> list[str]:
    shape, dtype = stored.shape, stored.dtype
    if dtype.hasobject:
        return [f"{stored.name} holds Python objects, which are never read: save it with one dtype, such as uint8"]
    found = []
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] > 4):
        mend = ""
        if len(shape) == 4 and shape[1] in (1, 3, 4):
            mend = ". Channels stand last: save images.transpose(0, 2, 3, 1)"
        elif len(shape) == 2:
            mend = ". Save it with its height and width: images.reshape(-1, height, width)"
        found.append(
            f"{stored.name} has the shape {shape}; images are (images, height, width) or (images, height, width, "
            f"channels) with 1 to 4 channels{mend}"
        )
    if dtype.kind not in "buif":
        found.append(f"{stored.name} is {dtype}; images are numbers")
    elif dtype != "uint8" and value_range is None:
        found.append(f"{stored.name} is {dtype}: say which numbers are black and white{_observed(stored)}")
    return found


def _observed(stored: StoredArray) -> str:
    """The range that the first images suggest."""
    some = stored.read()[:256]
    if not some.size:
        return ", such as range = [0.0, 1.0]"
    low, high = float(some.min()), float(some.max())
    usual = next((pair for pair in ((0, 1), (-1, 1), (0, 255), (0, 65535)) if pair[0] <= low and high <= pair[1]), None)
    meant = usual or (low, high)
    return (
        f". The first {len(some)} images hold {low:g} to {high:g}; for numbers from {meant[0]:g} to {meant[1]:g} write "
        f"range = [{meant[0]:.1f}, {meant[1]:.1f}]"
    )


def _label_problems(stored: StoredArray) -> list[str]:
    shape, dtype = stored.shape, stored.dtype
    if dtype.hasobject:
        mend = "text as labels.astype(str)"
        return [f"{stored.name} holds Python objects, which are never read: save numbers as int64, {mend}"]
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        mend = ". Of rows of one-hot shares save labels.argmax(1)" if len(shape) == 2 else ""
        return [f"{stored.name} has the shape {shape}; labels are (images,){mend}"]
    if dtype.kind not in "iuU":
        return [f"{stored.name} is {dtype}; labels are whole numbers or text: save labels.astype('int64')"]
    return []


def _numbers(
    arrays: Mapping[str, StoredArray], pairs: Mapping[str, tuple[str, str | None]], given: Sequence[str] | None
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The classes' names, and by split the number of each example's class, int64; -1 where it has none."""
    import numpy as np

    texts: dict[str, tuple[list[str | None], np.ndarray]] = {}
    for split, (of_images, of_labels) in pairs.items():
        labels = np.full(arrays[of_images].shape[0], _NONE) if of_labels is None else arrays[of_labels].read()
        values, places = np.unique(np.reshape(labels, -1), return_inverse=True)
        text = [value if values.dtype.kind == "U" else str(int(value)) for value in values]
        texts[split] = [None if one in ("", str(_NONE)) else str(one) for one in text], places
    all_ = {label for split, (some, _) in texts.items() for label in some if label is not None and split != UNLABELLED}
    train = {label for label in texts.get("train", ([], None))[0] if label is not None} or all_
    names, numbers = numbered(train, all_, given)
    problems, found = [], {}
    for split, (some, places) in texts.items():
        for i, label in enumerate(some):
            if split != UNLABELLED and label is not None and label not in numbers:
                first, count = int(np.flatnonzero(places == i)[0]), int((places == i).sum())
                of = arrays[pairs[split][1] or ""].name
                told = no_class(label, numbers, names, given is not None)
                problems.append(f"{of}[{first}]{f' and {count - 1} more' if count > 1 else ''}: {told}")
        map_ = np.array([_NONE if label is None else numbers.get(label, 0) for label in some], np.int64)
        found[split] = map_[places]
    if problems:
        raise RunError("\n  ".join(["these labels can't be used:", *problems[:20]]))
    if len(names) < 2:
        received = f"one: {names[0]!r}" if names else "none"
        raise RunError(f"labels of two classes or more are needed. Received: {received}")
    return names, found


_CALLED = {"minLength": 1, "examples": ["{split}_faces"]}

COMPONENT = Component(
    kind="dataset",
    name="arrays",
    build=build,
    options=options(
        "dataset",
        build,
        split=SPLIT_OPTION,
        path={
            "minLength": 1,
            "format": "path",
            "examples": ["data/faces.npz"],
            "description": "An .npz file, or a folder of .npy files: images and labels, or such a pair for each split",
        },
        classes=CLASSES_OPTION,
        range={
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "examples": [[0.0, 1.0]],
            "description": "The numbers that are black and white; needed unless the images are uint8",
        },
        images={
            **_CALLED,
            "description": "What the arrays of images are called, {split} standing for a split. Default: images or x, "
            "alone or as train_images or x_train",
        },
        labels={
            **_CALLED,
            "examples": ["{split}_ids"],
            "description": "The same of the labels. Default: labels or y, as those of the images",
        },
        weights={
            "examples": ["{split}_weights"],
            "description": "The same of how much each image counts in the loss, 0 or more. Default: weights or "
            'sample_weight, where there are such; "" reads none',
        },
    ),
    summary="NumPy arrays of images and labels, weights too: an .npz file or a folder of .npy files, memory-mapped",
)
