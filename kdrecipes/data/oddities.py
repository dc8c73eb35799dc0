"""What is odd about prepared data and stops nothing: told on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from kdrecipes.data.splits import Split
from kdrecipes.data.store import Store
from kdrecipes.recipe.tables import DatasetTable
from kdrecipes.wording import named


def without_images(split: Split) -> list[str]:
    """The classes of which a split with labels has no image."""
    if not split.labelled:
        return []
    counts = np.bincount(split.labels, minlength=len(split.store.classes))
    return [name for name, count in zip(split.store.classes, counts, strict=True) if not count]


def lost_on(background: str, stores: Mapping[str, Store]) -> Iterator[str]:
    """Drawings that have the background's colour; `stores` are by base split."""
    for name, store in stores.items():
        if store.uniform:
            ground = f"dataset.background = {background!r}"
            yield (
                f"{len(store.uniform):,} of the {len(store):,} images of {name} have transparent pixels and show "
                f"nothing but one colour on {ground}: {named(store.uniform)}. Choose another "
                "background, on which their drawings can be seen."
            )


STRATIFIED = "dataset.stratified = true"  # the line that mends a draw that empties classes


def unmeasured_classes(table: DatasetTable, validation: Split, test: Split) -> Iterator[str]:
    """Classes that nobody measures; `table` is the recipe's."""
    drawn_alike = isinstance(table.validation, float) and not table.stratified
    for key, split in (("validation", validation), ("test", test)):
        if missing := without_images(split):
            mend = f" To hold the share out class by class: {STRATIFIED}" if key == "validation" and drawn_alike else ""
            yield (
                f"{len(missing):,} of the {len(split.store.classes):,} classes have no {key} image: {named(missing)}. "
                f"What the {key} figures say is not about them.{mend}"
            )
