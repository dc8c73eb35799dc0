"""Whether runs whose data differ were measured on the same test images all the same, and what of their data differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.report.facts import DatasetFacts

# Keys of [dataset] that choose and label training and validation images; no test image depends on them.
_OF_TRAINING = ("train", "labelled", "labelled_share", "unlabelled", "validation", "stratified", "views")
Source = tuple[Mapping[str, Any], Mapping[str, Any]]
_COUNTED = ("train", "labelled", "unlabelled", "validation", "test")


def apart_words(mine: DatasetFacts, theirs: DatasetFacts) -> str:
    """The kinds of images of which two runs have other numbers: `train 100 and 90 images, …`; empty where none."""
    return ", ".join(
        f"{part} {getattr(mine, part):,} and {getattr(theirs, part):,} images"
        for part in _COUNTED
        if getattr(mine, part) != getattr(theirs, part)
    )


def same_test_source(mine: Source, theirs: Source) -> bool:
    """Whether two runs took their test images from the same place and in the same way, as far as their files tell.

    A source that lists no files, such as a release of a public dataset, is taken for what it was.

    Args:
        mine, theirs: of each its table [dataset], and its listing of the source's files; both from lock.json.
    """
    (table, files), (other_table, other_files) = mine, theirs
    return bool(table) and _of_test(table) == _of_test(other_table) and _files(files) == _files(other_files)


def _of_test(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in _OF_TRAINING}


def _files(listing: Mapping[str, Any]) -> dict[str, Any]:
    """By base split, what lay there: names and sizes of files by class, not when they were written."""
    return {split: of["classes"] for split, of in listing.items()}


def same_names(first: Path, other: Path) -> bool:
    """Whether two predictions.npz call their images the same, by name where the dataset gives names."""
    mine, theirs = (read_npz(file, ["names"]) for file in (first, other))
    return mine.keys() == theirs.keys() and (not mine or np.array_equal(mine["names"], theirs["names"]))
