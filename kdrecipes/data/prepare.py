"""From the recipe's `[dataset]` table to disjoint splits of stored images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from kdrecipes.data.duplicates import Identical, duplicates
from kdrecipes.data.hold_out import hold_out, more_than_the_share
from kdrecipes.data.labels import keep_labels, refuse_missing_labels, refuse_without_labels
from kdrecipes.data.listing import Listing, listing_of
from kdrecipes.data.mixture import Mixture, mixture
from kdrecipes.data.oddities import lost_on, unmeasured_classes
from kdrecipes.data.reader import Decoding, name_in
from kdrecipes.data.refusals import (
    refuse_less_than_a_batch,
    refuse_other_classes,
    refuse_overlap,
    refuse_weights_of_zero,
)
from kdrecipes.data.splits import Split, cut_split, of_classes
from kdrecipes.data.store import Store, open_store
from kdrecipes.data.unreadable import Unreadable, refuse_unreadable, unreadable_of
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.recipe.split import parse_split
from kdrecipes.recipe.tables import DatasetTable, Recipe, StudentTable, TeacherTable

Progress = Callable[[str, int, int, int, int], None]
SPLITS = ("train", "validation", "test")
WRITTEN = (*SPLITS, "unlabelled")


@dataclass(frozen=True)
class Data:
    """The recipe's data, prepared.

    Attributes:
        train, validation, test: disjoint splits.
        classes: the class names.
        student_size: pixels per side that the student sees.
        teacher_sizes: the same of each teacher, by its id.
        fingerprint: sha256 (hex) of the stored pixels, labels and what belongs to which split.
        converted: images that had an alpha channel.
        unlabelled: images that the distilled student is taught without labels, disjoint from those above: the rest of
            train, where `dataset.labelled` keeps a part of its labels, and `dataset.unlabelled`.
        unreadable: what of each base split could not be read.
        left_out: what each base split's source left out, by the split's label and by reason: names of files.
        warnings, identical: what is odd and stops nothing, a sentence each; images in two splits or under two labels.
        listing: what lies where the images come from, by base split, as `listing_of` gives it.
    """

    train: Split
    validation: Split
    test: Split
    classes: list[str]
    student_size: int
    teacher_sizes: Mapping[str, int]
    fingerprint: str
    converted: int
    unlabelled: tuple[Split, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    left_out: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    identical: tuple[Identical, ...] = ()
    listing: Listing = field(default_factory=dict)

    @property
    def skipped(self) -> list[str]:
        """Names of the images that could not be read."""
        return [name for one in self.unreadable for name, _ in one.files]

    @property
    def images(self) -> int:
        """Training images of the distilled student, with and without labels."""
        return len(self.train) + sum(map(len, self.unlabelled))

    def mixture(self, recipe: Recipe, *, taught: bool) -> Mixture:
        """What the batches of a student of the recipe hold; one on labels only takes as many steps."""
        batch_size = recipe.train.batch_size
        both = mixture(len(self.train), self.images - len(self.train), batch_size, recipe.dataset.labelled_share)
        return both if taught else Mixture(batch_size, 0, both.steps)

    def size(self, network: TeacherTable | StudentTable) -> int:
        """Pixels per side that a network of the recipe sees."""
        return self.teacher_sizes[network.id] if isinstance(network, TeacherTable) else self.student_size


def prepare(recipe: Recipe, progress: Progress | None = None) -> Data:
    """Decode what is not in the store yet and cut the splits.

    Args:
        recipe: a valid recipe.
        progress: called with (split name, images done, images in all, bytes that they take in the store, how many of
            those done could not be read); as `open_store` says with 0 bytes.

    Raises:
        RunError: a split that is not there, splits that overlap, a split too small, unreadable images.
        EnvironmentProblem: data that are nowhere to be had, a full disk.
    """
    table = recipe.dataset
    written = splits_of(table)
    bases, sources = sources_of(recipe)  # every source before any pixel: a misspelt split is told in seconds
    stores = {name: stored(recipe, name, key, sources[name], progress) for name, key in bases.items()}
    labelled = {name: getattr(source, "labelled", True) for name, source in sources.items()}
    unreadable = [unreadable_in(table, name, key, sources[name], stores[name]) for name, key in bases.items()]
    refuse_unreadable(unreadable, table.corrupt_limit)
    parts = {
        key: cut_split(stores[base := parse_split(text)[0]], key, text, key != "unlabelled" and labelled[base])
        for key, text in written.items()
    }
    refuse_without_labels(recipe, parts)
    refuse_missing_labels(table, parts)
    if "validation" not in parts:
        parts["train"], parts["validation"] = hold_out(table, parts["train"])
    refuse_overlap(table, parts)
    refuse_other_classes(parts)
    train, validation, test = (parts[key] for key in SPLITS)
    warnings = [*lost_on(table.background, stores), *unmeasured_classes(table, validation, test)]
    warnings += more_than_the_share(table, train, validation)
    train, rest = keep_labels(recipe, train)
    others = of_classes(parts["unlabelled"], train.store.classes) if "unlabelled" in parts else None
    unlabelled = tuple(part for part in (rest, others) if part is not None)
    refuse_less_than_a_batch(recipe, train, sum(map(len, unlabelled)))
    refuse_weights_of_zero(train, unlabelled)
    owners = {id(stores[name].images): source for name, source in sources.items()}
    identical = duplicates(
        {"train": train, "validation": validation, "test": test},
        unlabelled,
        lambda store, index: name_in(owners[id(store.images)], index),
    )
    content = hashlib.sha256()
    for part in (train, validation, test, *unlabelled):
        content.update(part.store.fingerprint.encode() + np.ascontiguousarray(part.positions).tobytes())
    default = table.image_size or train.store.images.shape[1]
    return Data(
        train,
        validation,
        test,
        train.store.classes,
        recipe.student.image_size or default,
        {name: teacher.image_size or default for name, teacher in recipe.teachers.items()},
        content.hexdigest(),
        sum(store.converted for store in stores.values()),
        unlabelled,
        tuple(unreadable),
        {label_of(table, name): left for name, one in sources.items() if (left := getattr(one, "left_out", {}))},
        tuple(warnings),
        tuple(identical),
        listing_of(sources),
    )


def refuse_unfit(recipe: Recipe, data: Data) -> None:
    """Refuse data that were prepared for another recipe of the same `[dataset]`, where this one can't train on them.

    Raises:
        RunError: as `prepare`.
    """
    refuse_without_labels(recipe, {key: getattr(data, key) for key in SPLITS})
    refuse_less_than_a_batch(recipe, data.train, data.images - len(data.train))


def unreadable_in(table: DatasetTable, name: str, key: str, source: Any, store: Store) -> Unreadable:
    """What of the base split `name`, which `dataset.<key>` asks for, can't be read."""
    labelled = getattr(source, "labelled", True) and _labels_read(table, name) != "none"
    return unreadable_of(source, store, label_of(table, name), _place(table, key), labelled)


def label_of(table: DatasetTable, name: str) -> str:
    """What messages call a base split."""
    return f"{table.name} {name}"


def _place(table: DatasetTable, key: str) -> str:
    """How messages quote a key of the table."""
    return f"dataset.{key} = {getattr(table, key)!r}"


def splits_of(table: DatasetTable) -> dict[str, str]:
    """The splits that are written as such, by key; a share of train is none."""
    written = {key: getattr(table, key) for key in WRITTEN}
    return {key: text for key, text in written.items() if isinstance(text, str)}


def sources_of(recipe: Recipe) -> tuple[dict[str, str], dict[str, Any]]:
    """By base split of the recipe: the first key of `[dataset]` that names it, and its source."""
    bases: dict[str, str] = {}
    for key, text in splits_of(recipe.dataset).items():
        bases.setdefault(parse_split(text)[0], key)
    return bases, {name: build_source(recipe, name, key) for name, key in bases.items()}


def build_source(recipe: Recipe, name: str, key: str) -> Any:
    """The source of the base split `name`, which the recipe's `dataset.<key>` asks for."""
    component, _ = recipe.registry.components["dataset", recipe.dataset.name]
    with _named(recipe, key):
        return component.build(split=name, **recipe.options(recipe.dataset))


def stored(
    recipe: Recipe, name: str, key: str, source: Any, progress: Progress | None, image_size: int | None = None
) -> Store:
    """The store of the base split `name`, which `dataset.<key>` asks for.

    Args:
        recipe: a valid recipe.
        name, key: see above.
        source: the base split's.
        progress: as `prepare` takes it.
        image_size: pixels per side where images differ and the recipe says no size.

    Raises:
        RunError, EnvironmentProblem: as `open_store`.
    """
    table, provider = recipe.dataset, recipe.provider(recipe.dataset)
    label = label_of(table, name)
    with _named(recipe, key):
        return open_store(
            source,
            [table.name, provider.distribution, provider.version, recipe.options(table), name],
            name=label,
            image_size=largest_size(recipe) or image_size,
            store_size=table.store_size,
            resize=table.resize,
            labels=_labels_read(recipe.dataset, name),
            decoding=decoding_of(table),
            progress=(lambda *step: progress(label, *step)) if progress else None,
        )


def decoding_of(table: DatasetTable) -> Decoding:
    """How the images of a recipe's dataset become RGB."""
    from PIL import ImageColor

    red, green, blue, *_ = ImageColor.getrgb(table.background)
    return Decoding((red, green, blue), table.max_pixels)


def _labels_read(table: DatasetTable, base: str) -> Literal["all", "some", "none"]:
    """Which labels of a base split are read: where a part of it has none, whatever stands there is no mistake."""
    keys = [key for key, text in splits_of(table).items() if parse_split(text)[0] == base]
    return "all" if "unlabelled" not in keys else "some" if len(keys) > 1 else "none"


def largest_size(recipe: Recipe) -> int | None:
    """The largest size that a network is to see, where the recipe says so."""
    networks: list[StudentTable | TeacherTable] = [recipe.student, *recipe.teachers.values()]
    sizes = [size for network in networks if (size := network.image_size or recipe.dataset.image_size)]
    return max(sizes) if len(sizes) == len(networks) else None


@contextmanager
def _named(recipe: Recipe, key: str) -> Iterator[None]:
    """Let an error of the dataset name the recipe's key, and one that is not meant for people the component."""
    place = _place(recipe.dataset, key)
    try:
        yield
    except KDRecipesError as error:
        error.at(place)
        raise
    except Exception as error:
        provider = recipe.provider(recipe.dataset)
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise RunError(f"{place}: the dataset {recipe.dataset.name!r} ({provider}) failed: {text}") from error
