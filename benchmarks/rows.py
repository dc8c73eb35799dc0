"""What a benchmark is told, and the row of figures that it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeVar

from benchmarks.timing import Ratio

T = TypeVar("T")
Direction = Literal["at least", "at most"]
Figures = dict[str, float | str]


@dataclass(frozen=True)
class Setting:
    """Which of the three sizes is measured.

    Attributes:
        quick: tiny shapes and few rounds, only to see that everything runs.
        gpu: on a GPU, at 224 px, batch 128, in bfloat16.
    """

    quick: bool = False
    gpu: bool = False

    def choose(self, full: T, quick: T, gpu: T | None = None) -> T:
        """The value for this setting; `gpu` where it differs from `full`."""
        if self.quick:
            return quick
        return gpu if self.gpu and gpu is not None else full

    @property
    def device(self) -> str:
        """torch's name of the device."""
        return "cuda" if self.gpu else "cpu"

    @property
    def precision(self) -> str:
        """What networks compute with: "float32" or "bfloat16"."""
        return "bfloat16" if self.gpu else "float32"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        row: its number; rows of one number differ in their networks.
        name: what is divided by what.
        ratio, iqr: of medians; quartiles of the ratios of single rounds.
        direction, goal, reach: the ratio is to be "at least" or "at most" `goal`; None where none is set.
        figures: absolute figures, and what they depend on.
    """

    row: int
    name: str
    ratio: float
    iqr: tuple[float, float]
    direction: Direction
    goal: float | None = None
    reach: float | None = None
    figures: Figures = field(default_factory=dict)


def row_of(
    number: int,
    name: str,
    measured: Ratio,
    direction: Direction,
    goal: float | None = None,
    reach: float | None = None,
    **figures: float | str,
) -> Row:
    """A row of a measured ratio, rounded to four digits."""
    low, high = (float(f"{value:.4g}") for value in (measured.low, measured.high))
    return Row(number, name, float(f"{measured.value:.4g}"), (low, high), direction, goal, reach, figures)
