"""From the recipe's `[dataset]` table to three disjoint splits of stored images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdrecipes.data.loader import Split
from kdrecipes.data.splits import cut, held_out, parse_split
from kdrecipes.data.store import Store, open_store
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.recipe import Recipe

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Data:
    """The recipe's data, prepared.

    Attributes:
        train, validation, test: disjoint splits.
        classes: the class names.
        image_size: pixels per side that the networks see.
        fingerprint: sha256 (hex) of the stored pixels, labels and what belongs to which split.
        converted, skipped: images that were not RGB; names of those that could not be read.
    """

    train: Split
    validation: Split
    test: Split
    classes: list[str]
    image_size: int
    fingerprint: str
    converted: int
    skipped: list[str]


def prepare(recipe: Recipe, progress: Progress | None = None) -> Data:
    """Decode what is not in the store yet and cut the splits.

    Args:
        recipe: a valid recipe.
        progress: called with (split name, images done, images in all).

    Raises:
        RunError: a split that is not there, splits that overlap, a split too small, unreadable images.
        EnvironmentProblem: data that are nowhere to be had, a full disk.
    """
    table = recipe.data["dataset"]
    stores: dict[str, Store] = {}

    def base(name: str, key: str) -> Store:
        if name not in stores:
            stores[name] = _open_base(recipe, name, key, progress)
        return stores[name]

    def split(key: str) -> Split:
        name = parse_split(table[key])[0]
        store = base(name, key)
        positions = cut(table[key], len(store))
        if len(positions) == 0:
            raise RunError(f"dataset.{key} = {table[key]!r} holds no image: {name!r} has {len(store)}.")
        return Split(store, positions)

    train, test = split("train"), split("test")
    if isinstance(table["validation"], str):
        validation = split("validation")
    else:
        apart = held_out(train.index, table["validation"])
        validation = Split(train.store, train.positions[apart])
        train = Split(train.store, train.positions[~apart])
        if not len(validation) or not len(train):
            raise RunError(
                f"dataset.validation = {table['validation']:g} of {len(apart)} training images leaves a split empty."
            )
    _refuse_overlap(table, {"train": train, "validation": validation, "test": test})
    classes = train.store.classes
    for key, part in (("validation", validation), ("test", test)):
        if part.store.classes != classes:
            raise RunError(
                f"dataset.{key} has other classes than dataset.train: {part.store.classes[:5]} and {classes[:5]} …"
            )
    batch = recipe.data["train"]["batch_size"]
    if len(train) < batch:
        raise RunError(
            f"dataset.train holds {len(train)} images, fewer than one batch of train.batch_size = {batch}, and the last "
            "incomplete batch is dropped. Lower train.batch_size."
        )
    content = hashlib.sha256()
    for part in (train, validation, test):
        content.update(part.store.fingerprint.encode() + np.ascontiguousarray(part.positions).tobytes())
    used = stores.values()
    return Data(
        train, validation, test, classes,
        table.get("image_size") or train.store.images.shape[1],
        content.hexdigest(),
        sum(store.converted for store in used),
        [name for store in used for name in store.skipped],
    )  # fmt: skip


def _open_base(recipe: Recipe, name: str, key: str, progress: Progress | None) -> Store:
    table = recipe.data["dataset"]
    component, provider = recipe.registry.components["dataset", table["name"]]
    options = recipe.options(table, "dataset")
    try:
        source = component.build(split=name, **options)
        label = f"{table['name']} {name}"
        return open_store(
            source,
            [table["name"], provider.distribution, options, name],
            name=label,
            image_size=table.get("image_size"),
            store_size=table.get("store_size"),
            resize=table["resize"],
            corrupt_limit=table["corrupt_limit"],
            progress=(lambda done, total: progress(label, done, total)) if progress else None,
        )
    except KDRecipesError as error:
        text = str(error)
        raise type(error)(text if text.startswith("dataset.") else f"dataset.{key} = {table[key]!r}: {text}") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"dataset.{key} = {table[key]!r}: the dataset {table['name']!r} ({provider}) failed: {text}"
        ) from error


def _refuse_overlap(table: Any, parts: dict[str, Split]) -> None:
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = parts[first], parts[second]
            if a.store is not b.store:
                continue
            shared = int(np.intersect1d(a.positions, b.positions).size)
            if shared:
                raise RunError(
                    f"dataset.{first} = {table[first]!r} and dataset.{second} = {table[second]!r} share {shared} images; "
                    "splits must not overlap."
                )
