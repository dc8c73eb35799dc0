"""Images that a table lists with their labels: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.datasets.class_names import CLASSES_OPTION, UNLABELLED, WITHOUT_LABEL
from kdrecipes.components.datasets.decoding import decode, look, why_unreadable
from kdrecipes.components.datasets.folder_layout import is_usual
from kdrecipes.components.datasets.listed_images import listed_images
from kdrecipes.components.datasets.source import SPLIT_OPTION, missing_split
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import RunError
from kdrecipes.hashing import digest
from kdrecipes.wording import escaped

if TYPE_CHECKING:
    import numpy as np


@dataclass
class FileListSource:
    """The listed images of one split; each is read when it is asked for.

    Args:
        root: the folder that the names are relative to.
        names: the image files, in the source's order.
        labels: class of each.
        classes: name of each class.
        fingerprint: changes when a row of the split, or a file's size or modification time does.
        labelled: False where no row of the split has a label; it is 0 then, and says nothing.
        weights: float32 (examples,), how much each counts; None: all alike.
        left_out: rows that are of another split, by reason: names of files.
    """

    root: Path
    names: list[str]
    labels: list[int]
    classes: list[str]
    fingerprint: str
    labelled: bool = True
    weights: np.ndarray | None = None
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Example `index`: `image` uint8 RGB or RGBA (height, width, 3 or 4) and `label`, an int."""
        file = self.root / self.names[index]
        try:
            return {"image": decode(file), "label": self.labels[index]}
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            raise ValueError(f"{self.name_of(index)}: {why_unreadable(file, error)}") from error

    def look(self, index: int) -> tuple[int, int, str]:
        """Width, height and mode of example `index`, such as (640, 480, "RGB"), without its pixels."""
        return look(self.root / self.names[index])

    def name_of(self, index: int) -> str:
        """The file's name below the root."""
        return escaped(self.names[index])

    def listing(self) -> dict[str, list[tuple[str, int]]]:
        """Name and bytes of each image, by its class; all under the class "" where they have none."""
        found: dict[str, list[tuple[str, int]]] = {}
        for index, (name, size, _) in enumerate(_facts(self.root, self.names)):
            found.setdefault(self.classes[self.labels[index]] if self.labelled else "", []).append((name, size))
        return found

    def label_of(self, index: int) -> int:
        """The label of example `index`, also of one that can't be read."""
        return self.labels[index]


def build(
    split: str = "train",
    *,
    path: str,
    root: str | None = None,
    classes: list[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str = "split",
    weight_column: str = "weight",
) -> FileListSource:
    """The source of the rows of a split; without a column of splits all rows are `train`.

    Rows without a label are the split `unlabelled`, but those of a split in which no row has one.
    """
    table = listed_images(path, root, classes, path_column, label_column, split_column, weight_column)
    splits = table.splits()
    if split not in splits:
        raise _no_split(split, sorted(splits))
    # By a hash, so that a slice holds all classes; of the name, so that it does everywhere.
    rows = sorted(splits[split], key=lambda row: (hashlib.sha256(table.names[row].encode()).digest(), row))
    names = [table.names[row] for row in rows]
    labelled = split != UNLABELLED and any(table.labels[row] is not None for row in rows)
    labels = [(table.labels[row] or 0) if labelled else 0 for row in rows]
    facts = _facts(table.root, names)
    if all(size < 0 for _, size, _ in facts):
        raise RunError(
            f"not one of the {len(names):,} images of {split} is there; the first would be "
            f"{escaped(str(table.root / table.names[min(rows)]))}. Paths are relative to dataset.root, by default the "
            "folder of the list"
        ).at("dataset.root" if root else "dataset.path")
    weights = table.weights_of(rows)
    without = [table.names[row] for row in table.without_label(split)]
    told = [] if weights is None else weights.tolist()
    return FileListSource(
        table.root,
        names,
        labels,
        table.classes,
        digest("file_list", split, table.classes, facts, labels, told, labelled),
        labelled,
        weights,
        {WITHOUT_LABEL: without} if without else {},
    )


def has_labels(split: str, **chosen: Any) -> bool | None:
    """Whether a row of a split has a label; None where there is no such split."""
    table = listed_images(**{"root": None, "classes": None, "path_column": None, "label_column": None, **chosen})
    rows = table.splits().get(split)
    return None if rows is None else split != UNLABELLED and any(table.labels[row] is not None for row in rows)


build.labelled = has_labels  # type: ignore[attr-defined]


def _facts(root: Path, names: list[str]) -> list[tuple[str, int, int]]:
    """Name, bytes and modification time in ns of each file; −1 of one that is not there."""
    found = []
    for name in names:
        try:
            stat = os.stat(root / name)
            found.append((name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append((name, -1, -1))
    return found


def _no_split(split: str, have: list[str]) -> RunError:
    error = missing_split(split, have)
    stem = "val" if split == "validation" else split
    like = [name for name in have if is_usual(name) and name.lower().startswith(stem)]
    if like and split in ("train", "validation", "test"):
        error.hint = f'Did you mean `{split} = "{like[0]}"`?'
    return error


_COLUMN = {"minLength": 1}

COMPONENT = Component(
    kind="dataset",
    name="file_list",
    build=build,
    options=options(
        "dataset",
        build,
        split=SPLIT_OPTION,
        path={
            "minLength": 1,
            "format": "path",
            "examples": ["data/labels.csv"],
            "description": "The list: .csv, .tsv, .jsonl, .ndjson, .parquet or .pq; its first line names the columns",
        },
        root={
            "minLength": 1,
            "format": "path",
            "examples": ["data/images"],
            "description": "Folder that the listed paths are relative to, and must not leave. Default: the list's own",
        },
        classes=CLASSES_OPTION,
        path_column={
            **_COLUMN,
            "examples": ["file_name"],
            "description": "Column of the images' paths. Default: the one that is called path, file, image …",
        },
        label_column={
            **_COLUMN,
            "examples": ["breed"],
            "description": "Column of the labels. Default: the one that is called label, class, category …, or the "
            "only one left",
        },
        split_column={
            "description": 'Column of the splits\' names, where the list has it; "" reads none, and all rows are train',
        },
        weight_column={
            "description": "Column of how much each image counts in the loss, where the list has it: 0 or more, an "
            'empty cell is 1; "" reads none',
        },
    ),
    summary="images that a CSV, TSV, JSON-lines or Parquet file lists, with their labels; splits and weights too",
)
