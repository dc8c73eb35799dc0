"""The stored outputs of one teacher on several splits that stand one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdrecipes.runs.teacher_outputs import CachedOutputs


@dataclass
class JoinedOutputs:
    """The stored logits of one teacher on several splits that stand one after the other."""

    parts: list[CachedOutputs]

    @property
    def rows(self) -> int:
        """Stored rows, one for each view."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Of the logits on disk."""
        return sum(part.bytes for part in self.parts)

    @property
    def computed(self) -> int:
        """Rows that were computed when this was opened."""
        return sum(part.computed for part in self.parts)

    @property
    def seconds(self) -> float:
        """Spent computing them."""
        return sum(part.seconds for part in self.parts)

    def __call__(self, number: int, positions: np.ndarray) -> np.ndarray:
        """Logits (len(positions), classes) of examples of one of the splits.

        Args:
            number: of the pass over that split, counted from 0.
            positions: int64, positions where the examples of all splits are counted.
        """
        first = 0
        for part in self.parts:
            if positions[0] < first + part.shape[0]:
                return part(number, positions - first)
            first += part.shape[0]
        raise IndexError(f"position {positions[0]} of {first}")
