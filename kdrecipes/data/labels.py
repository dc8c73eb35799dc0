"""Which training images have labels, and what a recipe can't do without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdrecipes.data.splits import Split, draw_labelled
from kdrecipes.errors import RunError
from kdrecipes.recipe.builders import needs_without_labels
from kdrecipes.recipe.tables import DatasetTable, Recipe


def refuse_without_labels(recipe: Recipe, parts: Mapping[str, Any]) -> None:
    """Images without labels can be taught on, and nothing else; `parts` are the recipe's splits by key."""
    for key in ("validation", "test"):
        if key in parts and not parts[key].labelled:
            raise RunError(f"dataset.{key} = {getattr(recipe.dataset, key)!r} has no labels to measure by.")
    if parts["train"].labelled:
        return
    if recipe.has_unlabelled:
        key = "labelled" if recipe.dataset.labelled is not None else "unlabelled"
        raise RunError(
            f"dataset.train = {recipe.dataset.train!r} has no labels, and dataset.{key} = "
            f"{getattr(recipe.dataset, key)!r} is for images beside those that have. Leave it out, or let "
            "dataset.train name a split with labels."
        )
    wrong = [need for _, need in needs_without_labels(recipe)]
    if wrong:
        raise RunError(f"dataset.train = {recipe.dataset.train!r} has no labels. That needs {', '.join(wrong)}.")


def refuse_missing_labels(table: DatasetTable, parts: Mapping[str, Split]) -> None:
    for key in parts:
        if parts[key].labelled and (missing := int((parts[key].labels < 0).sum())):
            raise RunError(
                f"dataset.{key} = {getattr(table, key)!r}: {missing} of {len(parts[key])} images have no label. Images "
                "without labels belong in dataset.unlabelled alone."
            )


def refuse_fewer_labels_than_classes(recipe: Recipe, classes: int, count: int, images: int) -> None:
    """Refuse `dataset.labelled` where the `count` of `images` that it is leaves a class without a label."""
    if count < classes:
        asked = recipe.dataset.labelled
        what = f" of {images} images is {count}, and" if isinstance(asked, float) else ":"
        raise RunError(
            f"dataset.labelled = {asked}{what} train has {classes} classes, each of which needs one label at least. "
            "Raise it."
        )


def keep_labels(recipe: Recipe, train: Split) -> tuple[Split, Split | None]:
    """The images of train whose labels are used, and the others; None where `dataset.labelled` leaves none."""
    asked = recipe.dataset.labelled
    if asked is None:
        return train, None
    classes = len(np.unique(train.labels))
    count = round(asked * len(train)) if isinstance(asked, float) else asked
    place = f"dataset.labelled = {asked}"
    if count > len(train):
        raise RunError(f"{place} is more than the {len(train)} images that train holds. Lower it, or leave it out.")
    refuse_fewer_labels_than_classes(recipe, classes, count, len(train))
    kept = draw_labelled(train.labels, train.index, count, recipe.seed)
    if kept.all():
        return train, None
    return Split(train.store, train.positions[kept]), Split(train.store, train.positions[~kept], labelled=False)
