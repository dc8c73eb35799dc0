"""The sizes that BiT's networks come in: shared by the network and by the reader of its weights."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Units of each stage, and the factor on all widths."""

    units: tuple[int, int, int, int]
    width: int


SIZES = {
    "bit_m_r50x1": Size((3, 4, 6, 3), 1),
    "bit_m_r101x1": Size((3, 4, 23, 3), 1),
}
