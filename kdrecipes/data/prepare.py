"""From the recipe's `[dataset]` table to three disjoint splits of stored images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Any

import numpy as np

from kdrecipes.data.loader import Split
from kdrecipes.data.splits import cut, held_out, overlap, parse_split
from kdrecipes.data.store import Store, open_store
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.recipe.tables import Recipe

Progress = Callable[[str, int, int, int], None]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Data:
    """The recipe's data, prepared.

    Attributes:
        train, validation, test: disjoint splits.
        classes: the class names.
        student_size, teacher_size: pixels per side that the networks see.
        fingerprint: sha256 (hex) of the stored pixels, labels and what belongs to which split.
        converted, skipped: images that were not RGB; names of those that could not be read.
    """

    train: Split
    validation: Split
    test: Split
    classes: list[str]
    student_size: int
    teacher_size: int
    fingerprint: str
    converted: int
    skipped: list[str]

    def size(self, role: str) -> int:
        """Pixels per side that the "student" or the "teacher" sees."""
        return self.teacher_size if role == "teacher" else self.student_size


def prepare(recipe: Recipe, progress: Progress | None = None) -> Data:
    """Decode what is not in the store yet and cut the splits.

    Args:
        recipe: a valid recipe.
        progress: called with (split name, images done, images in all, bytes that they take in the store).

    Raises:
        RunError: a split that is not there, splits that overlap, a split too small, unreadable images.
        EnvironmentProblem: data that are nowhere to be had, a full disk.
    """
    table = recipe.data["dataset"]
    written = {key: table[key] for key in SPLITS if isinstance(table[key], str)}
    bases: dict[str, str] = {}  # base split: the first key that names it
    for key, text in written.items():
        bases.setdefault(parse_split(text)[0], key)
    # every source before any pixel: a misspelt split is told in seconds
    sources = {name: build_source(recipe, name, key) for name, key in bases.items()}
    stores = {name: _open_store(recipe, name, key, sources[name], progress) for name, key in bases.items()}
    labelled = {name: getattr(source, "labelled", True) for name, source in sources.items()}
    parts = {
        key: _cut(stores[base := parse_split(text)[0]], key, text, labelled[base]) for key, text in written.items()
    }
    refuse_without_labels(recipe, parts)
    if "validation" not in parts:
        parts["train"], parts["validation"] = _hold_out(parts["train"], table["validation"])
    _refuse_overlap(table, parts)
    _refuse_other_classes(parts)
    train, validation, test = (parts[key] for key in SPLITS)
    trained = {"train": recipe.data["train"], "teacher.train": recipe.data.get("teacher", {}).get("train")}
    for key, settings in trained.items():
        if settings and len(train) < settings["batch_size"]:
            raise RunError(
                f"dataset.train holds {len(train)} images, fewer than one batch of {key}.batch_size = "
                f"{settings['batch_size']}, and the last incomplete batch is dropped. Lower {key}.batch_size."
            )
    content = hashlib.sha256()
    for part in (train, validation, test):
        content.update(part.store.fingerprint.encode() + np.ascontiguousarray(part.positions).tobytes())
    used = stores.values()
    default = table.get("image_size") or train.store.images.shape[1]
    return Data(
        train,
        validation,
        test,
        train.store.classes,
        recipe.data["student"].get("image_size", default),
        recipe.data.get("teacher", {}).get("image_size", default),
        content.hexdigest(),
        sum(store.converted for store in used),
        [name for store in used for name in store.skipped],
    )


def build_source(recipe: Recipe, name: str, key: str) -> Any:
    """The source of the base split `name`, which the recipe's `dataset.<key>` asks for."""
    component, _ = recipe.registry.components["dataset", recipe.data["dataset"]["name"]]
    with _named(recipe, key):
        return component.build(split=name, **recipe.options(recipe.data["dataset"], "dataset"))


def _open_store(recipe: Recipe, name: str, key: str, source: Any, progress: Progress | None) -> Store:
    table = recipe.data["dataset"]
    provider = recipe.registry.provider("dataset", table["name"])
    label = f"{table['name']} {name}"
    with _named(recipe, key):
        return open_store(
            source,
            [table["name"], provider.distribution, provider.version, recipe.options(table, "dataset"), name],
            name=label,
            image_size=_largest_size(recipe),
            store_size=table.get("store_size"),
            resize=table["resize"],
            corrupt_limit=table["corrupt_limit"],
            progress=(lambda *step: progress(label, *step)) if progress else None,
        )


def _largest_size(recipe: Recipe) -> int | None:
    """The largest size that a network is to see, where the recipe says so."""
    roles = [recipe.data[role] for role in ("student", "teacher") if role in recipe.data]
    default = recipe.data["dataset"].get("image_size")
    sizes = [size for role in roles if (size := role.get("image_size", default))]
    return max(sizes) if len(sizes) == len(roles) else None


@contextmanager
def _named(recipe: Recipe, key: str) -> Iterator[None]:
    """Let an error of the dataset name the recipe's key, and one that is not meant for people the component."""
    table = recipe.data["dataset"]
    place = f"dataset.{key} = {table[key]!r}"
    try:
        yield
    except KDRecipesError as error:
        error.at(place)
        raise
    except Exception as error:
        provider = recipe.registry.provider("dataset", table["name"])
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise RunError(f"{place}: the dataset {table['name']!r} ({provider}) failed: {text}") from error


def refuse_without_labels(recipe: Recipe, parts: Mapping[str, Any]) -> None:
    """Images without labels can be taught on, and nothing else; `parts` are the recipe's splits by key."""
    for key in ("validation", "test"):
        if key in parts and not parts[key].labelled:
            raise RunError(f"dataset.{key} = {recipe.data['dataset'][key]!r} has no labels to measure by.")
    if parts["train"].labelled:
        return
    data, wrong = recipe.data, []
    if "validation" not in parts:
        wrong.append("dataset.validation names a split that has labels")
    if data["loss"]["label_weight"] != 0:
        wrong.append("loss.label_weight = 0")
    if data["compare"]["baseline"]:
        wrong.append("compare.baseline = false")
    if "train" in data.get("teacher", {}):
        wrong.append("no [teacher.train]")
    if "class_weight" in data["train"]:
        wrong.append("no train.class_weight")
    if wrong:
        raise RunError(f"dataset.train = {data['dataset']['train']!r} has no labels. That needs {', '.join(wrong)}.")


def _cut(store: Store, key: str, text: str, labelled: bool) -> Split:
    positions = cut(text, len(store))
    if len(positions) == 0:
        name = parse_split(text)[0]
        raise RunError(f"dataset.{key} = {text!r} holds no image: {name!r} has {len(store)}.")
    return Split(store, positions, labelled)


def _hold_out(train: Split, share: float) -> tuple[Split, Split]:
    """What is left of train, and the share held out of it."""
    apart = held_out(train.index, share)
    if apart.all() or not apart.any():
        raise RunError(f"dataset.validation = {share:g} of {len(train)} training images leaves a split empty.")
    return Split(train.store, train.positions[~apart]), Split(train.store, train.positions[apart])


def _refuse_overlap(table: Any, parts: dict[str, Split]) -> None:
    for first, second in combinations(SPLITS, 2):
        a, b = parts[first], parts[second]
        shared = overlap(a.positions, b.positions) if a.store is b.store else 0
        if shared:
            raise RunError(
                f"dataset.{first} = {table[first]!r} and dataset.{second} = {table[second]!r} share {shared} images; "
                "splits must not overlap."
            )


def _refuse_other_classes(parts: dict[str, Split]) -> None:
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
