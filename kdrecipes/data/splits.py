"""Which examples of a store belong to which split: slices, the share held out of train, overlaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kdrecipes.data.store import Store
from kdrecipes.errors import RunError
from kdrecipes.hashing import hash64, uniform
from kdrecipes.recipe.split import parse_split

NO_LABEL = -1

_HELD_OUT = 0x686F6C64  # the stream of hashes that decides which training images are held out
_LABELLED = 0x6C61626C  # the stream of hashes that decides which training images keep their labels


def cut(text: str, examples: int) -> np.ndarray:
    """Positions (int64, ascending) of a split's examples among the `examples` of its base split.

    A bound is a number of examples, or a percentage, rounded to the nearest example; negative ones count from the end.
    Neighbouring slices (`[:90%]` and `[90%:]`) never overlap and leave nothing out.
    """
    _, start, stop = parse_split(text)

    def bound(word: str) -> int:
        percent = word.endswith("%")
        count = round(int(word[:-1]) * examples / 100) if percent else int(word)
        return max(0, examples + count) if word.startswith("-") else count

    return np.arange(examples, dtype=np.int64)[bound(start or "0") : bound(stop or "100%")]


def held_out(index: np.ndarray, share: float) -> np.ndarray:
    """Which of the examples (by their index in the base split) are held out of train: bool, same shape.

    A fixed hash of the index decides: the same for every recipe and seed, and a smaller share is part of a larger one.
    """
    return uniform(index, _HELD_OUT) < share


def held_out_by_class(labels: np.ndarray, index: np.ndarray, share: float) -> np.ndarray:
    """The same, drawn class by class: bool, same shape.

    `share` of all examples, rounded to the nearest, goes to the classes in proportion to their sizes, by the divisor
    method of Sainte-Laguë. But each class of two or more gives at least one example, also where that is more than the
    share, and each class keeps at least one in train: a class of one is not held out. Within a class the hash of
    `held_out` decides, and so do equal turns of several classes. A smaller share is part of a larger one of the same
    examples; an example that is added or removed may change the draw of others.

    Args:
        labels: int64 (examples,).
        index: int64 (examples,), each example's index in the base split.
        share: from 0 to 1.
    """
    drawn = uniform(index, _HELD_OUT)
    order = np.lexsort((drawn, labels))  # by class, then by hash
    rank, size = _ranks(labels[order])
    turn = np.where(rank == 0, -1.0, (rank + 0.5) / size)
    last = rank == size - 1
    turns = np.lexsort((drawn[order], turn, last))  # one of each class stays, whatever the share
    firsts = int(((rank == 0) & ~last).sum())
    count = min(max(round(share * len(labels)), firsts if share > 0 else 0), int((~last).sum()))
    apart = np.zeros(len(labels), bool)
    apart[order[turns[:count]]] = True
    return apart


def _ranks(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of sorted labels: each one's place in its class, from 0, and the class's size."""
    _, firsts, sizes = np.unique(labels, return_index=True, return_counts=True)
    return np.arange(len(labels)) - np.repeat(firsts, sizes), np.repeat(sizes, sizes)


def draw_labelled(labels: np.ndarray, index: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which of the examples keep their labels: bool, same shape, `count` of them.

    Each class that occurs keeps one; the others go to the classes in proportion to their sizes, by the divisor method
    of Sainte-Laguë. So a smaller count is part of a larger one of the same seed. Within a class a fixed hash of the
    seed and the index decides.

    Args:
        labels: int64 (examples,).
        index: int64 (examples,), each example's index in the base split.
        count: from the number of classes that occur to the number of examples.
        seed: the recipe's.
    """
    order = np.lexsort((hash64(index, _LABELLED, seed), labels))  # by class, then by hash
    rank, size = _ranks(labels[order])
    turn = np.where(rank == 0, -1.0, (rank + 0.5) / size)
    kept = np.zeros(len(labels), bool)
    kept[order[np.argsort(turn, kind="stable")[:count]]] = True
    return kept


def overlap(first: np.ndarray, second: np.ndarray) -> int:
    """How many positions two splits of one base split have in common."""
    return int(np.intersect1d(first, second).size)


def of_classes(split: Split, classes: list[str]) -> Split:
    """Images whose labels are not read, among those classes: what their own source says of classes counts as little."""
    return replace(split, store=replace(split.store, classes=classes))


def cut_split(store: Store, key: str, text: str, labelled: bool) -> Split:
    """The examples of a store that `dataset.<key> = text` asks for.

    Raises:
        RunError: when they are none.
    """
    positions = cut(text, len(store))
    if len(positions) == 0:
        name = parse_split(text)[0]
        raise RunError(f"dataset.{key} = {text!r} holds no image: {name!r} has {len(store)}.")
    return Split(store, positions, labelled)


@dataclass(frozen=True)
class Split:
    """Some examples of a store.

    Attributes:
        store: the store.
        positions: int64 rows of the store, in the split's order.
        labelled: False where the store's labels say nothing.
    """

    store: Store
    positions: np.ndarray
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> np.ndarray:
        """int64 (examples,); -1 where they have none, and those of the store are not read."""
        return self.store.labels[self.positions] if self.labelled else np.full(len(self), NO_LABEL)

    @property
    def weighted(self) -> bool:
        """Whether the store says how much each example counts."""
        return self.store.weights is not None

    @property
    def index(self) -> np.ndarray:
        """int64 (examples,): each example's index in its base split, which its views are drawn from."""
        return self.store.index[self.positions]
