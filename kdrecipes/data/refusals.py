"""What a run refuses of its splits: images in two of them, other classes, less than a batch, weights of 0 alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, zip_longest

from kdrecipes.data.splits import Split, overlap
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import DatasetTable, Recipe


def refuse_less_than_a_batch(recipe: Recipe, train: Split, unlabelled: int) -> None:
    """Refuse a training split that does not fill one batch of a network that is trained on it.

    Args:
        recipe: a valid recipe.
        train: its training images with labels.
        unlabelled: how many images the distilled student is taught without.
    """
    tables = {"train": recipe.train} | {f"{t.place}.train": t.train for t in recipe.teachers.values() if t.train}
    for key, table in tables.items():
        # A student passes over few images with labels as often as those without take; a teacher has only these.
        images = len(train) + (unlabelled if table is recipe.train else 0)
        if images < table.batch_size:
            what = f"{images} images" + (" with labels" if unlabelled and table is not recipe.train else "")
            raise RunError(
                f"dataset.train holds {what}, fewer than one batch of {key}.batch_size = "
                f"{table.batch_size}, and the last incomplete batch is dropped. Lower {key}.batch_size."
            )


def refuse_weights_of_zero(train: Split, unlabelled: Sequence[Split]) -> None:
    """Refuse images to train on of which each has the weight 0, so that none of them would teach anything.

    Args:
        train: the training images with labels.
        unlabelled: those without.
    """
    for key, split in [("train", train), *(("unlabelled", one) for one in unlabelled)]:
        weights = split.store.weights
        if weights is not None and len(split) and not weights[split.positions].any():
            raise RunError(
                f"dataset.{key}: each of its {len(split):,} images has the weight 0, so none would teach anything. "
                "Give a weight above 0 to those that shall count."
            )


def refuse_overlap(table: DatasetTable, parts: Mapping[str, Split]) -> None:
    """Refuse splits, by their keys, that share images."""
    for first, second in combinations(parts, 2):
        a, b = parts[first], parts[second]
        shared = overlap(a.positions, b.positions) if a.store is b.store else 0
        if shared:
            raise RunError(
                f"dataset.{first} = {getattr(table, first)!r} and dataset.{second} = {getattr(table, second)!r} share "
                f"{shared} images; splits must not overlap."
            )


def refuse_other_classes(parts: Mapping[str, Split]) -> None:
    """Refuse a validation or a test of other classes than train's, or of another order."""
    classes = parts["train"].store.classes
    for key in ("validation", "test"):
        other = parts[key].store.classes
        if other != classes:
            pairs = zip_longest(classes, other)
            label, (ours, theirs) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise RunError(
                f"dataset.{key} has other classes than dataset.train ({len(other)} and {len(classes)}): label {label} "
                f"is {theirs!r} there and {ours!r} in train."
            )
