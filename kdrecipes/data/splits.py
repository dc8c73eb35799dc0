"""Which examples belong to which split: slices, the share held out of train, overlaps. Pure functions of indices."""

from __future__ import annotations

import numpy as np

from kdrecipes.hashing import hash64, uniform
from kdrecipes.recipe.split import parse_split

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
    _, firsts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(firsts, sizes)
    turn = np.where(rank == 0, -1.0, (rank + 0.5) / np.repeat(sizes, sizes))
    kept = np.zeros(len(labels), bool)
    kept[order[np.argsort(turn, kind="stable")[:count]]] = True
    return kept


def overlap(first: np.ndarray, second: np.ndarray) -> int:
    """How many positions two splits of one base split have in common."""
    return int(np.intersect1d(first, second).size)
