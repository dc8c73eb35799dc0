"""Which classes a network takes for each other: the matrix and the most frequent pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion(logits: Sequence[NDArray[Any]], labels: NDArray[Any]) -> NDArray[Any]:
    """int64 (classes, classes): test images by true class and the class named, summed over seeds."""
    n = logits[0].shape[1]
    named = np.concatenate([values.argmax(1) for values in logits])
    return np.bincount(np.tile(labels, len(logits)) * n + named, minlength=n * n).reshape(n, n)


def matrix(counts: NDArray[Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The confusion matrix: for each true class its name and cells of share, strength of colour and images."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return [
        {
            "name": classes[i],
            "images": int(counts[i].sum()),
            "cells": [
                {"share": float(s), "strength": round(float(s) ** 0.6, 3), "images": int(c)}
                for s, c in zip(shares[i], counts[i], strict=True)
            ],
        }
        for i in range(len(classes))
    ]


def confusions(
    counts: Mapping[str, NDArray[Any]], role: str, classes: Sequence[str], most: int
) -> list[dict[str, Any]]:
    """The pairs (true class, class named) that `role` takes for each other most, and the shares of all roles."""
    wrong = counts[role] * (1 - np.eye(len(classes), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    return [
        {
            "true": classes[i],
            "named": classes[j],
            "cells": [(int(c[i, j]), float(c[i, j] / max(c[i].sum(), 1))) for c in counts.values()],
        }
        for i, j in pairs
    ]
