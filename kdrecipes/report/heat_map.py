"""A sweep over two keys as a table of colours: a line for each value of one, a column for each value of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdrecipes.report.sweep_results import Point, mean_of, ranked
from kdrecipes.report.sweep_words import columns_of, is_plain, value_words

MOST = 30  # values of a key; a larger table can't be read
FAINTEST = 0.06  # strength of the colour of the lowest accuracy, where 1 is that of the highest


@dataclass(frozen=True)
class HeatMap:
    """Validation accuracy over two keys.

    Attributes:
        down, across: the keys.
        columns: the values of `across`, in words.
        lines: of each value of `down`: its `name` and `cells`, each None where no point is, else the point with its
            `mean` (None where it is not done), `strength` of colour (0 to 1) and whether it is the `best`.
    """

    down: str
    across: str
    columns: list[str]
    lines: list[dict[str, Any]]


def heat_map(points: Sequence[Point]) -> HeatMap | None:
    """The table; None where the points do not change two keys with plain values, or are few of the pairs of values."""
    keys = columns_of(points)
    if len(keys) != 2 or not all(is_plain(points, key) for key in keys):
        return None
    values = {key: _in_order([point["changes"][key] for point in points]) for key in keys}
    down, across = sorted(keys, key=lambda key: -len(values[key]))
    sizes = len(values[down]), len(values[across])
    done = ranked(points)
    if not done or min(sizes) < 2 or max(sizes) > MOST or sizes[0] * sizes[1] > 2 * len(points):
        return None
    means = [mean_of(point) for point in done]
    low, high = min(means), max(means)
    places: dict[tuple[str, str], Point] = {}
    for point in [*done, *(point for point in points if point not in done)]:  # of two in one place the better
        places.setdefault((value_words(point["changes"][down]), value_words(point["changes"][across])), point)

    def cell(point: Point | None) -> Mapping[str, Any] | None:
        if point is None:
            return None
        mean = mean_of(point) if point in done else None
        share = 1.0 if mean is None or low == high else (mean - low) / (high - low)
        strength = 0.0 if mean is None else round(FAINTEST + (1 - FAINTEST) * share, 3)
        return {"point": point, "mean": mean, "strength": strength, "best": point is done[0]}

    columns = [value_words(value) for value in values[across]]
    lines = [
        {"name": name, "cells": [cell(places.get((name, column))) for column in columns]}
        for name in map(value_words, values[down])
    ]
    return HeatMap(down, across, columns, lines)


def _in_order(values: Sequence[Any]) -> list[Any]:
    """Each value once; numbers from the least, others as they come."""
    each = list({value_words(value): value for value in values}.values())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in each)
    return sorted(each) if numbers else each
