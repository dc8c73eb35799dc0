"""Data sets of the Hugging Face Hub, or of a folder that its library `datasets` reads, for kdrecipes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import kdrecipes

if TYPE_CHECKING:
    from kdrecipes_huggingface.source import Source

OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["data"],
    "properties": {
        "split": {"type": "string", "description": "The split's bare name; the run passes it"},
        "data": {
            "anyOf": [
                {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+(?![\s\S])"},
                {"type": "string", "minLength": 1, "format": "path"},
            ],
            "x-rule": "must be owner/name as the Hub has it, or a folder that begins with ./, ../, ~ or /",
            "examples": ["AI-Lab-Makerere/beans", "./folder"],
            "description": 'Data set of the Hub, e.g. AI-Lab-Makerere/beans, or a folder: "./folder". A folder is one '
            "that save_to_disk wrote, or holds Parquet files, or images in folders named by class",
        },
        "config": {
            "type": "string",
            "minLength": 1,
            "description": "Which configuration, where the data set has several",
        },
        "revision": {
            "type": "string",
            "minLength": 1,
            "description": "Branch, tag or commit on the Hub; absent: its branch main. A commit pins the data",
        },
        "image_column": {
            "type": "string",
            "minLength": 1,
            "description": "Column of the images; absent: the one of type Image",
        },
        "label_column": {
            "type": "string",
            "minLength": 1,
            "description": "Column of the labels; absent: the one of type ClassLabel",
        },
        "classes": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "uniqueItems": True,
            "examples": [["cat", "dog"]],
            "description": "Names of the classes, in the order of the labels; absent: those of the column's type "
            "ClassLabel. A column of integers or of texts needs them",
        },
    },
}


def build(
    split: str = "train",
    *,
    data: str,
    config: str | None = None,
    revision: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    classes: list[str] | None = None,
) -> Source:
    """The source of one split: see `source.source_of`."""
    from kdrecipes_huggingface.source import source_of

    return source_of(split, data, config, revision, image_column, label_column, classes)


def count_classes(
    data: str,
    config: str | None = None,
    revision: str | None = None,
    label_column: str | None = None,
    classes: list[str] | None = None,
    **_: Any,
) -> int:
    """How many classes there are, without the images where the data set's description says it."""
    from kdrecipes_huggingface.source import class_names

    return len(classes or class_names(data, config, revision, label_column))


build.count_classes = count_classes  # type: ignore[attr-defined]


@kdrecipes.hookimpl
def kdrecipes_components() -> Iterable[kdrecipes.Component]:
    """The one component of this plugin: the dataset `huggingface`."""
    yield kdrecipes.Component(
        kind="dataset",
        name="huggingface",
        build=build,
        options=OPTIONS,
        summary="data sets of the Hugging Face Hub, or of a folder that its library datasets reads",
    )
