"""`[dataset.views]` and the tables in it, as dataclasses: what both networks see of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Range = tuple[float, float]  # least, greatest


@dataclass(frozen=True, eq=False)
class BoxTable:
    """`random_resized_crop`: ranges of the share of the area, and of width ÷ height."""

    scale: Range
    ratio: Range


@dataclass(frozen=True, eq=False)
class ErasingTable:
    """`random_erasing`: the share of images, and ranges of the share of the area and of width ÷ height."""

    probability: float
    scale: Range
    ratio: Range


@dataclass(frozen=True, eq=False)
class ViewsTable:
    """`[dataset.views]`; `data` is its JSON form, for fingerprints."""

    flip: bool
    crop_padding: int
    data: Mapping[str, Any]
    random_resized_crop: BoxTable | None = None
    rotation: float | None = None
    random_erasing: ErasingTable | None = None
    mixup: float | None = None
