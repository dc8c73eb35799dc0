"""Stored images that are the same, pixel for pixel: in two splits, under two labels, or twice in one split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdrecipes.data.row_sums import FILE, hashes_of
from kdrecipes.data.splits import Split
from kdrecipes.data.store import Store
from kdrecipes.disk.files import new_file
from kdrecipes.disk.numpy_files import read_npy
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.wording import EXAMPLES, identical_words

NameOf = Callable[[Store, int], str]


@dataclass(frozen=True)
class Identical:
    """Images that stand in a second place too, pixel for pixel.

    Attributes:
        among: where they are counted: "validation" or "test", or "labels" for all images of the splits.
        also: where they stand too: "training", "validation" or "another label".
        images: how many.
        of: among how many.
        names: of the first three, each with the one that it is the same as, where that is in another split.
    """

    among: str
    also: str
    images: int
    of: int
    names: list[str]

    @property
    def text(self) -> str:
        """A sentence or two, for people."""
        return identical_words(vars(self))


@dataclass(frozen=True)
class Repeated:
    """Images of a split that stand in it before, pixel for pixel.

    Attributes:
        split: its key, such as "train".
        images: how many could go without any image being lost.
        of: among how many.
        names: of the first three, each with the one that it is the same as.
    """

    split: str
    images: int
    of: int
    names: list[str]


def duplicates(parts: Mapping[str, Split], taught: Sequence[Split], name_of: NameOf) -> Iterator[Identical]:
    """Each kind of images that stand where they should not stand too.

    Args:
        parts: "train", "validation" and "test", in this order.
        taught: images that are taught without labels.
        name_of: from a store and an index in its source to what a message calls the image.
    """
    stores = {id(split.store.images): split.store for split in (*parts.values(), *taught)}
    rows = {key: row_hashes(store) for key, store in stores.items()}
    train, validation, test = (_hashes(parts[key], rows) for key in ("train", "validation", "test"))
    learnt = [(parts["train"], train), *((split, _hashes(split, rows)) for split in taught)]
    for key, mine, others, what in (
        ("validation", validation, learnt, "training"),
        ("test", test, learnt, "training"),
        ("test", test, [(parts["validation"], validation)], "validation"),
    ):
        if (same := np.isin(mine, np.concatenate([hashes for _, hashes in others]))).any():
            twins = [_twin(value, others, name_of) for value in mine[same][:EXAMPLES]]
            names = [f"{name} (as {twin})" for name, twin in zip(_first(parts[key], same, name_of), twins, strict=True)]
            yield Identical(key, what, int(same.sum()), len(same), names)
    both = _contradicted(np.concatenate([train, validation, test]), np.concatenate([p.labels for p in parts.values()]))
    if both.any():
        masks = zip(parts.values(), np.split(both, np.cumsum([len(train), len(validation)])), strict=True)
        first = [name for split, chosen in masks for name in _first(split, chosen, name_of)]
        yield Identical("labels", "another label", int(both.sum()), len(both), first[:EXAMPLES])


def repeated(key: str, splits: Sequence[Split], name_of: NameOf) -> Repeated | None:
    """The images of a split that stand in it before; None where there is none.

    Args:
        key: the split's.
        splits: its parts, such as those with labels and those without.
        name_of: as `duplicates` takes it.
    """
    found = [(split, row_hashes(split.store)[split.positions]) for split in splits]
    hashes = np.concatenate([values for _, values in found])
    first = np.unique(hashes, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(hashes)), first)
    if not len(again):
        return None
    names = np.concatenate([np.full(len(split), place) for place, split in enumerate(splits)])
    starts = np.cumsum([0, *map(len, splits)])

    def name(position: int) -> str:
        place = int(names[position])
        return name_of(splits[place].store, int(splits[place].index[position - starts[place]]))

    told = [f"{name(i)} (as {_twin(hashes[i], found, name_of)})" for i in map(int, again[:EXAMPLES])]
    return Repeated(key, len(again), len(hashes), told)


def row_hashes(store: Store) -> np.ndarray:
    """`row_hash` of each stored image, uint64 (examples,): computed once, then kept beside the pixels."""
    if store.sums is not None:
        return store.sums.hashes
    folder = Path(name).parent if (name := getattr(store.images, "filename", None)) else None
    if folder is not None:
        with suppress(OSError, ValueError):  # not there, or damaged
            kept = read_npy(folder / FILE)
            if kept.dtype == np.uint64 and kept.shape == (len(store),):
                return np.asarray(kept)
    hashes = hashes_of(store.images)
    if folder is not None:
        with suppress(OSError, EnvironmentProblem), new_file(folder / FILE) as file:  # it only saves time
            np.save(file, hashes)
    return hashes


def _hashes(split: Split, rows: Mapping[int, np.ndarray]) -> np.ndarray:
    """The hashes of a split's images, in its order; `rows`: those of each store."""
    return np.asarray(rows[id(split.store.images)][split.positions])


def _contradicted(hashes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which images stand under another label too: bool (examples,); of those without a label none does."""
    there = labels >= 0
    pairs = np.unique(np.stack([hashes[there], labels[there].astype(np.uint64)]), axis=1)
    values, counts = np.unique(pairs[0], return_counts=True)
    return np.asarray(there & np.isin(hashes, values[counts > 1]))


def _twin(value: np.uint64, others: Sequence[tuple[Split, np.ndarray]], name_of: NameOf) -> str:
    """The name of the first image of some splits, given with their hashes, that has a hash."""
    split, row = next(
        (split, int(rows[0])) for split, hashes in others if (rows := np.flatnonzero(hashes == value)).size
    )
    return name_of(split.store, int(split.index[row]))


def _first(split: Split, chosen: np.ndarray, name_of: NameOf) -> list[str]:
    """The names of the first of some images of a split."""
    return [name_of(split.store, int(index)) for index in split.index[chosen][:EXAMPLES]]
