"""The images that a report shows, read from facts/pictures.npz and checked to be of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.errors import one_line
from kdrecipes.report.disagreements import disagreements
from kdrecipes.report.fact_files import damaged
from kdrecipes.report.facts import Facts
from kdrecipes.report.predictions import called

FILE = "facts/pictures.npz"
LARGEST_SIDE = 96  # pixels: larger images are stored at this size, so that the page stays below a few MB
MOST = 12  # images of a group
COMPARED = ("teacher", "baseline", "kd")  # the roles whose keys `networks` holds, in its order

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Group:
    """Test images on which networks disagree: how many in all, and those that are shown.

    Attributes:
        total: how many there are.
        positions: int64 (shown,), in the test split.
        images: uint8 (shown, side, side, 3).
        called: (shown,), the images' names.
    """

    total: int
    positions: NDArray[Any]
    images: NDArray[Any]
    called: Sequence[str]


@dataclass(frozen=True)
class Pictures:
    """The images of a run.

    Attributes:
        networks: the keys in predictions.npz of what is compared, by role.
        groups: by the names that `disagreements` gives them.
        sizes: pixels per side that the student saw, then each teacher.
        views: uint8 (shown, side, side, 3), training images, by the side at which they are stored.
        view_labels: float (shown, classes): rows that sum to 1, or without a label to 0.
    """

    networks: Mapping[str, str]
    groups: Mapping[str, Group]
    sizes: Sequence[int]
    views: Mapping[int, NDArray[Any]]
    view_labels: NDArray[Any]


def stored_side(size: int) -> int:
    """At how many pixels per side an image is stored that a network saw at `size`."""
    return min(size, LARGEST_SIDE)


def read_pictures(run: Path, facts: Facts) -> Pictures | None:
    """The images that a run folder holds; None where it holds none.

    Raises:
        UsageError: when the file is damaged, or not of the run that `facts` tell of.
    """
    if not (run / FILE).is_file():
        return None
    try:
        arrays = read_npz(run / FILE)
    except (OSError, ValueError) as error:
        raise damaged(run, FILE, one_line(error)) from error
    try:
        return _checked(run, arrays, facts)
    except KeyError as error:
        raise damaged(run, FILE, f"it lacks {error}") from error
    except ValueError as error:
        raise damaged(run, FILE, str(error)) from error


def _checked(run: Path, arrays: Arrays, facts: Facts) -> Pictures:
    keys = arrays["networks"]
    if keys.shape != (len(COMPARED),) or keys.dtype.kind != "U":
        raise ValueError("its networks are not the three keys that are compared")
    networks = {role: str(key) for role, key in zip(COMPARED, keys, strict=True) if key}
    if unknown := set(networks.values()) - facts.logits.keys():
        raise ValueError(f"it compares {', '.join(sorted(unknown))}, which predictions.npz does not hold")
    saw = arrays["view_sizes"]
    if saw.shape != (1 + len(facts.teachers),) or saw.dtype.kind not in "iu" or saw.min() < 1:
        raise ValueError("its view_sizes are not one of the student and one of each teacher")
    sizes = [int(size) for size in saw]
    named = {role: facts.logits[key].argmax(1) for role, key in networks.items()}
    groups = {}
    for name, positions in disagreements(facts.labels, named).items():
        chosen, images = arrays[name], _images(arrays, f"{name}_images", stored_side(sizes[0]))
        if chosen.dtype.kind not in "iu" or chosen.shape != images.shape[:1] or not np.isin(chosen, positions).all():
            raise ValueError(f"its images {name} are not of this run")
        groups[name] = Group(len(positions), chosen, images, called(run / "predictions.npz", chosen))
    views = {side: _images(arrays, f"views_{side}", side) for side in map(stored_side, sizes)}
    labels, classes = arrays["view_labels"], len(facts.dataset.classes)
    if labels.dtype.kind != "f" or any(labels.shape != (len(images), classes) for images in views.values()):
        raise ValueError("its view_labels are not those of its views")
    return Pictures(networks, groups, sizes, views, labels)


def _images(arrays: Arrays, key: str, side: int) -> NDArray[Any]:
    images = arrays[key]
    if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3) or len(images) > MOST:
        raise ValueError(f"{key} are no images of {side} pixels per side")
    return images
