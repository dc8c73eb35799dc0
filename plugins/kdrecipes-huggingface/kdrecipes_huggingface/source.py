"""One split as a source: encoded images are decoded when they are asked for, as kdrecipes decodes all files."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdrecipes import RunError, decode
from kdrecipes_huggingface.columns import NO_LABEL, image_column, label_column, labels_of
from kdrecipes_huggingface.loading import Loaded, described, load

if TYPE_CHECKING:
    import datasets


@dataclass
class Source:
    """The examples of one split.

    Args:
        split: its name.
        rows: the column of the images, memory-mapped.
        image: that column's name.
        labels: int64 (examples,), of the rows; −1 where there is none.
        order: int64 (examples,): the row of each example.
        classes: name of each class.
        fingerprint: changes when the data do.
        places: folders that an image's file may lie in, where the data set holds paths.
        labelled: False where no row has a label.
    """

    split: str
    rows: datasets.Dataset
    image: str
    labels: np.ndarray
    order: np.ndarray
    classes: list[str]
    fingerprint: str
    places: list[Path]
    labelled: bool

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Example `index`: `image` uint8 RGB or RGBA (height, width, 3 or 4) and `label`, an int."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            image = decode(self._file(int(self.order[index])))
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            # no RunError: it is the run that decides how many may be lost
            raise ValueError(f"{self.name_of(index)}: {_reason(error)}") from error
        return {"image": image, "label": self.label_of(index)}

    def label_of(self, index: int) -> int:
        """The label of example `index`, also of one that can't be read; −1 where it has none."""
        return int(self.labels[self.order[index]])

    def name_of(self, index: int) -> str:
        """A file's name below the folder of the data set, or the row, as in train[17]."""
        row = int(self.order[index])
        content, path = self._parts(row)
        if content is None and path is not None:
            return _below(Path(path), self.places[0])
        return f"{self.split}[{row}]"

    def _file(self, row: int) -> io.BytesIO | Path:
        """Where the encoded image of a row is read from."""
        content, path = self._parts(row)
        if content is not None:
            return io.BytesIO(content.as_py())
        if path is None:
            raise ValueError("the row holds no image")
        file = Path(os.path.normpath(path))
        if not any(file.is_relative_to(place) for place in self.places):
            raise ValueError("its path leads out of the data set")
        return file

    def _parts(self, row: int) -> tuple[Any, str | None]:
        """A row's encoded image as an Arrow scalar, None where it lies in a file; and the path that goes with it."""
        value = self.rows.data.column(self.image)[row]
        if not value.is_valid:
            return None, None
        if not hasattr(value, "keys"):
            return value, None
        content, path = value.get("bytes"), value.get("path")
        return content if content is not None and content.is_valid else None, path.as_py() if path is not None else None


class FolderSource(Source):
    """The same of a folder, whose data may change from one run to the next: a run says of which classes they did."""

    def listing(self) -> dict[str, list[tuple[str, int]]]:
        """Name, if it has one, and bytes of each image, by its class; all under the class "" where they have none."""
        found: dict[str, list[tuple[str, int]]] = {}
        for row, label in enumerate(self.labels):
            content, path = self._parts(row)
            size = len(content.as_buffer()) if content is not None else 0
            if content is None and path is not None and os.path.isfile(path):
                size = os.path.getsize(path)
            name = self.classes[label] if 0 <= label < len(self.classes) else ""
            found.setdefault(name, []).append((_below(Path(path), self.places[0]) if path else "", size))
        return found


def source_of(
    split: str,
    data: str,
    config: str | None,
    revision: str | None,
    image: str | None,
    label: str | None,
    classes: list[str] | None,
) -> Source:
    """The source of one split of a data set.

    Args:
        split: its bare name.
        data, config, revision: see `loading.load`.
        image, label: names of the columns; None: found by their types.
        classes: names of the classes; None: those of the type ClassLabel.

    Raises:
        EnvironmentProblem: `datasets`, the folder or the data set is nowhere to be had.
        RunError: no such split; columns that are missing or could be meant with others; classes that do not fit.
    """
    loaded = load(data, config, revision)
    if split not in loaded.splits:
        raise _no_split(split, list(loaded.splits))
    rows = loaded.splits[split]
    image, label = _columns(rows.features, {**loaded.features, **rows.features}, image, label)
    labels, names = _labels(loaded, split, label, classes)
    facts = json.dumps([split, loaded.facts[split], image, names, _digest(labels)])
    kind = Source if loaded.root is None else FolderSource
    return kind(
        split=split,
        rows=rows.select_columns([image]),
        image=image,
        labels=labels,
        order=_order(labels),
        classes=names,
        fingerprint=hashlib.sha256(facts.encode()).hexdigest(),
        places=_places(loaded.root),
        labelled=bool((labels != NO_LABEL).any()),
    )


def class_names(data: str, config: str | None, revision: str | None, label: str | None) -> list[str]:
    """The classes that the type ClassLabel of a data set's labels names; arguments and errors as of `source_of`."""
    features = described(data, config, revision)
    name = label_column(features, label)
    return labels_of([], features[name], name, None)[1]


def _columns(
    features: Mapping[str, Any], every: Mapping[str, Any], image: str | None, label: str | None
) -> tuple[str, str]:
    """The columns of images and labels; what is wrong with both is told at once."""
    try:
        image = image_column(features, image)
    except RunError as error:
        try:
            label_column(every, label)
        except RunError as other:
            error.hint = str(other)
        raise
    return image, label_column(every, label)


def _labels(loaded: Loaded, split: str, column: str, classes: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """The labels of a split and the classes' names; of a split without the column the names are another one's."""
    rows = loaded.splits[split]
    with_labels = rows if column in rows.features else next(o for o in loaded.splits.values() if column in o.features)
    labels, names = labels_of(
        with_labels.data.column(column).to_pylist(), with_labels.features[column], column, classes
    )
    return labels if with_labels is rows else np.full(len(rows), NO_LABEL, np.int64), names


def _order(labels: np.ndarray) -> np.ndarray:
    """The rows as they stand; those that go class by class by a hash of their number, so that a slice holds all."""
    changes = int(np.count_nonzero(np.diff(labels)))
    if len(np.unique(labels)) < 2 or changes >= len(np.unique(labels)):
        return np.arange(len(labels))
    return np.array(sorted(range(len(labels)), key=lambda row: hashlib.sha256(str(row).encode()).digest()), np.int64)


def _places(root: Path | None) -> list[Path]:
    """The data set's folder, and those where `datasets` keeps what it downloads and unpacks."""
    from datasets import config
    from huggingface_hub import constants

    kept = [Path(config.HF_DATASETS_CACHE), Path(constants.HF_HUB_CACHE)]
    return [Path(os.path.abspath(place)) for place in [*([root] if root is not None else []), *kept]]


def _no_split(split: str, have: list[str]) -> RunError:
    """The error for a split that is not there, with what to write instead."""
    text = f"the dataset has no split {split!r}; it has {', '.join(map(repr, have)) or 'none'}"
    if split == "validation" and "train" in have:
        text += ". `validation = 0.1` holds a tenth of train out for validation"
    if split == "test" and have == ["train"]:
        text += '. `train = "train[:80%]"` and `test = "train[80%:]"` cut a fifth of train off for the test'
    return RunError(text)


def _reason(error: Exception) -> str:
    """Why an image can't be read, without the name of a file or a stream, which Pillow gives."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "no image that Pillow knows"
    return error.strerror or str(error) if isinstance(error, OSError) else " ".join(str(error).split())


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _digest(labels: np.ndarray) -> str:
    return hashlib.sha256(labels.tobytes()).hexdigest()
