"""predictions.npz as a report reads it: the test labels and every network's test logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.errors import one_line

ENSEMBLE = "ensemble"  # the key of all teachers together, where there are several


def read_predictions(file: Path) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """The labels, and the logits by key; which images they are of is for other readers.

    Raises:
        ValueError: when the file is missing or damaged.
    """
    try:
        arrays = read_npz(file)
        logits = {key: array for key, array in arrays.items() if key not in ("index", "names")}
        return logits.pop("labels"), logits
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(one_line(error)) from error


def called(file: Path, positions: NDArray[Any]) -> list[str]:
    """What some test images are called: by the names that the dataset gives them, or by their index in their split.

    Of a name that is a whole path only the file's name is given: a report is shown to people who need not know where
    the data lay.

    Args:
        file: a predictions.npz that `read_predictions` has read.
        positions: int64 (images,), in the test split.

    Raises:
        ValueError: when it does not say.
    """
    try:
        stored = read_npz(file, ["names", "index"])
        names = [str(name) for name in stored["names" if "names" in stored else "index"][positions]]
        return [PurePath(name).name if PurePath(name).is_absolute() else name for name in names]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{file.name} does not name its images: {one_line(error)}") from error


def unlike(
    labels: NDArray[Any], logits: Mapping[str, NDArray[Any]], keys: Iterable[str], shape: tuple[int, int]
) -> str:
    """Why arrays are not those of a run whose networks are `keys`; empty where they are.

    Args:
        labels, logits: from `read_predictions`.
        keys: of the logits that must be there.
        shape: test images, classes.
    """
    for key in keys:
        found = logits[key].shape if key in logits else None
        if found != shape or labels.shape != shape[:1]:
            return f"{key} has the shape {found} and should have {shape}"
        if logits[key].dtype.kind != "f" or not np.isfinite(logits[key]).all():
            return f"{key} holds what no logits are"
    if labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < shape[1])).all():
        return f"its labels are no whole numbers from 0 to {shape[1] - 1}"
    return ""
