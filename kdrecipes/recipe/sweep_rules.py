"""Rules between the keys of `[sweep]`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from kdrecipes.recipe.positions import Path
from kdrecipes.recipe.rule import Broken, Rule
from kdrecipes.recipe.source import MOST_POINTS
from kdrecipes.recipe.structure import Data


def points_in(grid: Mapping[str, Any]) -> int:
    """How many combinations a grid has; what is no array has none of its own."""
    return math.prod(len(values) for values in grid.values() if isinstance(values, list))


def _grid_and_points(path: Path, sweep: Data) -> Iterator[Broken]:
    yield Broken((*path, "points"), "give either `grid` or `points`, not both")


def _too_many_points(path: Path, sweep: Data) -> Iterator[Broken]:
    grid = sweep.get("grid")
    if isinstance(grid, dict) and (points := points_in(grid)) > MOST_POINTS:
        yield Broken((*path, "grid"), f"must give at most {MOST_POINTS:,} points", f"{points:,} points")


SWEEP_RULES = (
    Rule("grid-and-points", "sweep", _grid_and_points, {"not": {"required": ["grid", "points"]}}),
    Rule("wrong-length", "sweep", _too_many_points),
)
