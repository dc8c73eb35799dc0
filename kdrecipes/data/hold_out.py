"""The share of train that is held out for validation: which images, and what is said of the classes."""

from __future__ import annotations

from collections.abc import Iterator

from kdrecipes.data.oddities import STRATIFIED, without_images
from kdrecipes.data.splits import Split, held_out, held_out_by_class
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import DatasetTable
from kdrecipes.wording import named


def hold_out(table: DatasetTable, train: Split) -> tuple[Split, Split]:
    """What is left of train, and the share of it that the recipe validates on.

    Raises:
        RunError: when a split is left empty, or a class without a training image.
    """
    share = float(table.validation)
    apart = held_out_by_class(train.labels, train.index, share) if table.stratified else held_out(train.index, share)
    if apart.all() or not apart.any():
        raise RunError(f"dataset.validation = {share:g} of {len(train)} training images leaves a split empty.")
    left = Split(train.store, train.positions[~apart])
    _refuse_emptied(table, train, left)
    return left, Split(train.store, train.positions[apart])


def _refuse_emptied(table: DatasetTable, whole: Split, train: Split) -> None:
    """Refuse a share held out that takes the last training image of a class."""
    before = set(without_images(whole))
    if emptied := [name for name in without_images(train) if name not in before]:
        raise RunError(
            f"dataset.validation = {table.validation:g} leaves {len(emptied)} of {len(train.store.classes)} classes "
            f"without a training image: {named(emptied)}. Hold out a smaller share, let dataset.validation name a "
            f"split of its own, or draw the share class by class: {STRATIFIED}"
        )


def more_than_the_share(table: DatasetTable, train: Split, validation: Split) -> Iterator[str]:
    """A share drawn class by class that is larger than what was asked for, since each class gives an image.

    Args:
        table: the recipe's.
        train, validation: what `hold_out` gave.
    """
    whole = len(train) + len(validation)
    if table.stratified and isinstance(table.validation, float):
        asked = round(table.validation * whole)
        if len(validation) > asked:
            yield (
                f"dataset.validation = {table.validation:g} of {whole:,} training images is {asked:,}; drawn class by "
                f"class it is {len(validation):,}, one image of each class that has two."
            )
