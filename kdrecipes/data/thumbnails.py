"""A few small images of described data, for its page: of each class, of those without labels, and those that repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdrecipes.data.describing import Description
from kdrecipes.data.splits import NO_LABEL, Split
from kdrecipes.hashing import hash64

LARGEST_SIDE = 64  # pixels
MOST = 200  # images of a page
_MOST_OF_A_CLASS = 8
_SHOWN = 0x6C6F6F6B  # the stream of hashes that decides which images are shown


@dataclass(frozen=True)
class Row:
    """Images that stand together.

    Attributes:
        name: the class's, or what they have in common; empty where they have no label.
        total: how many there are, of which these are shown.
        images: uint8 (shown, side, side, 3), at most 64 pixels per side.
        called: (shown,), the images' names.
    """

    name: str
    total: int
    images: Sequence[np.ndarray]
    called: Sequence[str]


def thumbnails(description: Description, seed: int) -> list[Row]:
    """A row for each of the first classes of train, then one of images without labels.

    A hash of the seed and of each image's index decides which are shown, so nobody picks. At most 200 images and what
    they need are held at once, however large the data are.

    Args:
        description: from `describe`.
        seed: the recipe's.
    """
    train = description.parts.get("train", [])
    untold = [*train[1:], *description.parts.get("unlabelled", [])]
    rows = []
    if train:
        labels, classes = train[0].labels, train[0].store.classes
        untold += [train[0]] if (labels == NO_LABEL).all() else []
        each = max(1, min(_MOST_OF_A_CLASS, MOST // (len(classes) + 1)))
        for label, name in enumerate(classes[: MOST - each]):
            rows.append(_row(description, name, [(train[0], np.flatnonzero(labels == label))], each, seed))
    if untold:
        rows.append(_row(description, "", [(split, np.arange(len(split))) for split in untold], _MOST_OF_A_CLASS, seed))
    return [row for row in rows if row.total]


def _row(description: Description, name: str, places: Sequence[tuple[Split, np.ndarray]], most: int, seed: int) -> Row:
    total = sum(len(chosen) for _, chosen in places)
    share = max(1, most // max(1, len(places)))
    images, called = [], []
    for split, chosen in places:
        index = split.index[chosen]
        for place in np.argsort(hash64(index, _SHOWN, seed), kind="stable")[:share]:
            images.append(_small(split.store.pixels(split.positions[chosen[[place]]])[0]))
            called.append(description.name_of(split.store, int(index[place])))
    return Row(name, total, images, called)


def _small(image: Any) -> np.ndarray:
    from PIL import Image

    if image.shape[0] <= LARGEST_SIDE:
        return np.asarray(image)
    return np.asarray(Image.fromarray(image).resize((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX))
