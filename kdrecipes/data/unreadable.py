"""What a run says of images that can't be read: which, how many of which class, what it takes to train without them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any

import numpy as np

from kdrecipes.data.store import Store
from kdrecipes.errors import RunError
from kdrecipes.wording import listed

CLASS_LIMIT = 0.1  # share of a class's images: when more can't be read, that is a warning


@dataclass(frozen=True)
class Unreadable:
    """The images of a base split that can't be read.

    Attributes:
        label: of the base split, such as "folder train".
        place: the recipe's key that names it, such as "dataset.train = 'train'".
        examples: images of the base split, with those that can't be read.
        files: name and reason of each that can't be read.
        classes: (unreadable, all) images of each class that lacks some; empty where the source does not tell labels.
    """

    label: str
    place: str
    examples: int
    files: list[tuple[str, str]]
    classes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def lost(self) -> list[str]:
        """Names of the classes of which not one image can be read."""
        return [name for name, (bad, all_) in self.classes.items() if bad == all_]


def unreadable_of(source: Any, store: Store, label: str, place: str, labelled: bool) -> Unreadable:
    """What of a source is not in its store.

    Args:
        source: a dataset component's source; `label_of`, where it has it, gives the label of an unreadable example.
        store: its store.
        label: see `Unreadable`.
        place: see `Unreadable`.
        labelled: whether its labels say something.
    """
    classes: dict[str, tuple[int, int]] = {}
    if store.skipped and labelled and hasattr(source, "label_of"):
        missing = np.setdiff1d(np.arange(len(source)), store.index)
        good = np.bincount(store.labels[store.labels >= 0], minlength=len(store.classes))
        bad = np.bincount([source.label_of(int(i)) for i in missing], minlength=len(store.classes))
        classes = {store.classes[i]: (int(bad[i]), int(bad[i] + good[i])) for i in np.flatnonzero(bad)}
    return Unreadable(label, place, len(source), sorted(store.skipped), classes)


def allowed(limit: float, examples: int) -> int:
    """How many unreadable images the share `limit` of `examples` allows."""
    return math.floor(limit * examples + 1e-9)  # 0.29 · 100 is 28.999… in binary


def least_limit(found: Sequence[Unreadable]) -> str:
    """The least share of three digits, as a recipe writes it, that allows for all that can't be read."""
    share = max(Decimal(len(one.files)) / one.examples for one in found)
    if not share:
        return "0.0"
    digit = Decimal(1).scaleb(share.adjusted() - 2)  # the third one that counts
    share = share.quantize(digit, ROUND_CEILING).normalize()
    return f"{share:f}" if share < 1 else "1.0"


def refuse_unreadable(found: Sequence[Unreadable], limit: float) -> None:
    """Refuse more unreadable images in a base split than `dataset.corrupt_limit` allows, and a class without images.

    Args:
        found: of each base split.
        limit: the share, from 0 to 1.

    Raises:
        RunError: naming the files; its last line is the one that would let the run pass, if one would.
    """
    refused = [one for one in found if len(one.files) > allowed(limit, one.examples) or one.lost]
    if not refused:
        return
    lines = []
    for one in refused:
        lines.append(f"{one.place}: {summary(one, limit)}")
        for name in one.lost:
            lines.append(f"  not one of the {one.classes[name][1]:,} images of the class {name} can be read")
    lines += _named(refused)
    if any(one.lost for one in refused):
        lines.append("A class without an image can't be learned or tested. Mend its files, or remove its folder.")
    else:
        lines.append("Mend or remove these files. To train without them, write under [dataset]:")
        lines.append(f"corrupt_limit = {least_limit(found)}")
    raise RunError("\n".join(lines))


def summary(one: Unreadable, limit: float) -> str:
    """How many images of a base split can't be read, and how many may be: as counts and as shares."""
    count, most = len(one.files), allowed(limit, one.examples)
    return (
        f"{one.label}: {count:,} of {one.examples:,} images can't be read, a share of {_share(count / one.examples)}; "
        f"dataset.corrupt_limit = {limit} is a share too and allows {most:,} of {one.examples:,}."
    )


def notes(found: Sequence[Unreadable], limit: float) -> list[str]:
    """What is told of unreadable images that are left out."""
    some = [one for one in found if one.files]
    return [*(summary(one, limit) for one in some), *_named(some)]


def warnings(found: Sequence[Unreadable]) -> list[str]:
    """A warning for each class that lacks much."""
    return [
        f"{one.label}: {bad:,} of the {all_:,} images of the class {name} can't be read."
        for one in found
        for name, (bad, all_) in one.classes.items()
        if bad > CLASS_LIMIT * all_
    ]


def _named(found: Sequence[Unreadable]) -> list[str]:
    return listed([f"  {name}: {reason}" for one in found for name, reason in one.files])


def _share(value: float) -> str:
    return f"{Decimal(f'{value:.3g}'):f}"
