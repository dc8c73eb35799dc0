"""Whether a network's outputs stand in another order than the classes, as its answers on labelled images tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RARE = 0.001  # how seldom chance alone may show such an order


@dataclass(frozen=True)
class Permutation:
    """Another order of the classes in which a network's answers are right far more often.

    Attributes:
        name_of: int64 (classes,): under the name of which class the images of a class come out.
        counts: int64 (classes, classes): images of a class (row) that were called another (column).
    """

    name_of: np.ndarray
    counts: np.ndarray

    @property
    def moved(self) -> list[int]:
        """The classes that come out under another's name."""
        return [c for c, name in enumerate(self.name_of) if c != name]

    @property
    def mean_recall(self) -> float:
        """In this order, over the classes that occur."""
        rows = self.counts.sum(1)
        right = self.counts[np.arange(len(rows)), self.name_of]
        return float((right[rows > 0] / rows[rows > 0]).mean())


def find_permutation(said: np.ndarray, labels: np.ndarray, classes: int) -> Permutation | None:
    """The order of classes that a network's answers show, where it is another one than the labels'; else None.

    The order that makes most of the confusion matrix right is taken apart into cycles. A cycle counts where its classes
    come out under the new names at least twice as often as under their own. All that count together have to hold on
    images that were not asked for the order: each half of the images judges the order of the other half.

    Args:
        said: int (images,), the class that the network names.
        labels: int (images,), the class that is right.
        classes: how many there are.
    """
    counts = _confusion(said, labels, classes)
    best, name_of = _best_order(counts), np.arange(classes)
    for cycle in _cycles(best):
        if _counts_for(cycle, best, counts):
            name_of[cycle] = best[cycle]
    moved = name_of != np.arange(classes)
    if not moved.any() or _chance(said, labels, moved) > _RARE:
        return None
    return Permutation(name_of, counts)


def _confusion(said: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): images by label (row) and answer (column)."""
    return np.bincount(labels * classes + said, minlength=classes**2).reshape(classes, classes)


def _best_order(counts: np.ndarray) -> np.ndarray:
    """int64 (classes,): a different name for each class, so that the mean recall is the greatest; ties keep names."""
    from scipy.optimize import linear_sum_assignment

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return np.asarray(linear_sum_assignment(shares + 1e-9 * np.eye(len(counts)), maximize=True)[1])


def _cycles(order: np.ndarray) -> list[list[int]]:
    """The classes that change names among each other."""
    left, found = set(range(len(order))), []
    while left:
        cycle = [min(left)]
        while (following := int(order[cycle[-1]])) != cycle[0]:
            cycle.append(following)
        left -= set(cycle)
        found += [cycle] if len(cycle) > 1 else []
    return found


def _counts_for(cycle: list[int], order: np.ndarray, counts: np.ndarray) -> bool:
    """Whether the classes of a cycle speak for it: most of them, both of two, and all together clearly.

    Two classes that look alike are confused in one direction more than in the other: that is no change of names.
    """
    own, new = counts[cycle, cycle], counts[cycle, order[cycle]]
    occur = counts[cycle].sum(1) > 0
    speak = int((new > own)[occur].sum())
    return speak >= max(2, 0.75 * occur.sum()) and new.sum() >= 2 * own.sum()


def _chance(said: np.ndarray, labels: np.ndarray, moved: np.ndarray) -> float:
    """How probable it is that new names, found on one half of the images, do so much better than their own on another.

    Args:
        said, labels: int (images,).
        moved: bool (classes,), whose images are looked at.
    """
    from scipy.stats import binomtest

    order = np.argsort(labels, kind="stable")
    second = np.empty(len(labels), bool)
    second[order] = np.arange(len(labels)) % 2 == 1  # every other image of a class
    new = own = 0
    for half in (second, ~second):
        names = _best_order(_confusion(said[half], labels[half], len(moved)))
        judged = ~half & moved[labels]
        new += int((said[judged] == names[labels[judged]]).sum())
        own += int((said[judged] == labels[judged]).sum())
    return float(binomtest(new, new + own, 0.5, "greater").pvalue) if new + own else 1.0
