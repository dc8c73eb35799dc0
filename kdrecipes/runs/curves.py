"""Curves of both arms as text: validation accuracy by epoch, in dots of braille."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Curves = dict[str, list[tuple[int, float]]]  # by label such as "kd-0": (epoch, accuracy)
Segments = list[tuple[str, str]]  # parts of a line, each with the arm that it is of, or ""

MOST_COLUMNS, MOST_ROWS = 64, 6
_LEAST_COLUMNS, _LEAST_ROWS = 24, 3
_BESIDE = 8  # columns of the labels
_ELSE = 12  # rows of a terminal that stay for bars, legend and lines above
_LEAST_SPAN = 0.02
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a cell of braille, by column and row


def curves_of(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """The validated epochs of each arm's last seed, the baseline's first, from the rows of a history."""
    found: dict[str, Curves] = {"baseline": {}, "kd": {}}
    for row in rows:
        if row["arm"] in found and "val_accuracy" in row:
            points = found[row["arm"]].setdefault(f"{row['arm']}-{row['seed']}", [])
            points.append((row["epoch"], float(row["val_accuracy"])))
    return {label: points for arm in found.values() for label, points in list(arm.items())[-1:]}


def room(columns: int, rows: int) -> tuple[int, int] | None:
    """Columns and rows of cells that a chart gets on a terminal of this size; None where it would leave no room."""
    wide, high = min(MOST_COLUMNS, columns - _BESIDE - 1), min(MOST_ROWS, rows - _ELSE)
    return (wide, high) if wide >= _LEAST_COLUMNS and high >= _LEAST_ROWS else None


def chart(curves: Curves, epochs: int, columns: int, rows: int) -> list[Segments]:
    """The curves over each other, the distilled one solid and the baseline dotted, and a line of figures for each.

    Args:
        curves: as `curves_of` gives them; of one point at least.
        epochs: that each arm has; all points are of 1 to this one.
        columns, rows: of cells that the curves get; labels take 8 more columns, the figures a row for each curve.

    Returns:
        Lines of at most `columns` + 8 characters.
    """
    low, high = _bounds([value for points in curves.values() for _, value in points])
    cells = {
        label: _cells(_dots(points, epochs, (low, high), columns, rows), label) for label, points in curves.items()
    }
    lines: list[Segments] = []
    for row in range(rows):
        edge = high if row == 0 else low if row == rows - 1 else None
        line: Segments = [(f"{100 * edge:5.1f} %" if edge is not None else " " * 7, ""), (" ", "")]
        for column in range(columns):
            here = {label: found[column, row] for label, found in cells.items() if (column, row) in found}
            bits = 0
            for part in here.values():
                bits |= part
            line.append((chr(0x2800 + bits) if bits else " ", list(here)[-1].partition("-")[0] if here else ""))
        lines.append(line)
    for label, points in curves.items():
        arm = label.partition("-")[0]
        epoch, value = points[-1]
        sign = "⠒⠒⠒" if _is_solid(label) else "⠂⠐ "
        told = f"{label:<12.12} {100 * value:5.1f} %  epoch {epoch} of {epochs}, validation"
        lines.append([(f"    {sign} ", arm), (told[:columns], "")])
    return lines


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The range that is drawn: a little more than the values', and never so little that noise looks like progress."""
    low, high = min(values), max(values)
    more = max(0.05 * (high - low), (_LEAST_SPAN - (high - low)) / 2)
    return max(0.0, low - more), min(1.0, high + more)


def _is_solid(label: str) -> bool:
    return label.startswith("kd")


def _dots(
    points: Sequence[tuple[int, float]], epochs: int, bounds: tuple[float, float], columns: int, rows: int
) -> list[tuple[int, int]]:
    """Where the curve passes, counted in dots from the left and from above: lines between its points."""
    low, high = bounds
    wide, tall = 2 * columns - 1, 4 * rows - 1
    places = [
        (round(wide * (epoch - 1) / max(epochs - 1, 1)), round(tall * (high - value) / (high - low)))
        for epoch, value in points
    ]
    found = [places[0]]
    for (x0, y0), (x1, y1) in pairwise(places):
        for x in range(x0 + 1, x1 + 1):
            y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
            before = found[-1][1]
            found += [(x, between) for between in range(min(before, y) + 1, max(before, y))]
            found.append((x, y))
        found.append((x1, y1))  # several epochs may share a column
    return found


def _cells(dots: Iterable[tuple[int, int]], label: str) -> dict[tuple[int, int], int]:
    """The dots gathered in cells of braille; of a curve that is not solid every third column."""
    found: dict[tuple[int, int], int] = {}
    for x, y in _shown(list(dots), solid=_is_solid(label)):
        cell = (x // 2, y // 4)
        found[cell] = found.get(cell, 0) | _DOTS[x % 2][y % 4]
    return found


def _shown(dots: Sequence[tuple[int, int]], *, solid: bool) -> Iterator[tuple[int, int]]:
    return (dot for number, dot in enumerate(dots) if solid or dot[0] % 3 == 0 or number in (0, len(dots) - 1))
