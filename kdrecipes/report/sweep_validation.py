"""A point's validation.npz: what its students told right, and which images these are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.report.sweep_results import Right


def read_right(point: Path) -> tuple[Right, Right, NDArray[Any]]:
    """What the students of a finished point told right, distilled and labels-only ones; and which images these are.

    Args:
        point: its folder.

    Returns:
        By seed bool (validation images,) of either; int64 (2, validation images), their labels and indices.

    Raises:
        OSError, ValueError, KeyError: when the file can't be read, or is none.
    """
    arrays = read_npz(point / "validation.npz")
    labels, index = arrays.pop("labels"), arrays.pop("index")
    return *by_arm(arrays, labels), np.stack([labels, index])


def by_arm(logits: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> tuple[Right, Right]:
    """What logits tell right, by seed, of the distilled and of the labels-only students.

    Args:
        logits: (images, classes) by an arm's label, such as "kd-0".
        labels: int64 (images,).
    """
    found: dict[str, dict[int, Any]] = {"kd": {}, "baseline": {}}
    for label, one in logits.items():
        arm, _, seed = label.rpartition("-")
        found[arm][int(seed)] = one.argmax(1) == labels
    return found["kd"], found["baseline"]
