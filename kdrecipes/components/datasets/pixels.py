"""Numbers as pixels: rows of an array, scaled from a declared range to 0 to 255 when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdrecipes.errors import RunError

if TYPE_CHECKING:
    import numpy as np


class Pixels:
    """Some rows of an array as uint8; whatever is not asked for stays in the file.

    Args:
        array: (examples, height, width[, channels]), mapped or in memory.
        name: how messages call it.
        rows: int64, those that count; None: all.
        value_range: the numbers that become 0 and 255; None: the array is uint8 and stays as it is.
    """

    def __init__(self, array: np.ndarray, name: str, rows: np.ndarray | None, value_range: Sequence[float] | None):
        self.array, self.name, self.rows, self.value_range = array, name, rows, value_range
        self.shape = (len(array) if rows is None else len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> np.ndarray:
        """uint8, those of a position or a slice.

        Raises:
            RunError: for a number outside the range.
        """
        import numpy as np

        found = np.asarray(self.array[index if self.rows is None else self.rows[index]])
        if self.value_range is None:
            return found
        low, high = self.value_range
        values = found.astype(np.float64)
        slack = 1e-6 * (high - low)
        wrong = ~((values >= low - slack) & (values <= high + slack))  # of NaN too
        if wrong.any():
            raise RunError(f"{self.name} holds {values[wrong][0]:g}, which is outside range = [{low:g}, {high:g}]").at(
                "dataset.range"
            )
        scaled: np.ndarray = np.clip(np.round((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
        return scaled
