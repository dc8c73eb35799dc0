"""The settings of a sweep's points in words: keys with their values, as short as they can be told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kdrecipes.report.sweep_results import Point

_BEFORE = {"running": 0, "waiting": 1, "pruned": 2, "failed": 3}  # the order of points that are not done


def value_words(value: Any) -> str:
    """`4.0` → `"4"`, `{"name": "dkd", "beta": 2.0}` → `"dkd beta=2"`, `["a", 1]` → `"a + 1"`."""
    if isinstance(value, Mapping):
        rest = {key: one for key, one in value.items() if key != "name"}
        own = [str(value["name"])] if "name" in value else []
        return " ".join([*own, *(f"{key}={value_words(one)}" for key, one in rest.items())]) or "empty"
    if isinstance(value, list):
        return " + ".join(map(value_words, value)) or "empty"
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short_words(point: Point, shared: bool) -> str:
    """What a point changes, in few words; its number where it changes nothing.

    Args:
        point: of sweep.json.
        shared: whether all points change the same keys, so that the values alone tell them apart.
    """
    changes = point["changes"]
    words = [value_words(value) if shared else f"{key}={value_words(value)}" for key, value in changes.items()]
    return ", ".join(words) or f"point {point['point']}"


def share_keys(points: Sequence[Point]) -> bool:
    """Whether all points change the same keys."""
    return len({frozenset(point["changes"]) for point in points}) == 1


def columns_of(points: Sequence[Point], most: int = 4) -> list[str]:
    """The keys that have a column each in the table of points: where all points give the same few keys plain values.

    Empty where they don't: then one column tells what each point changes.
    """
    keys = list(points[0]["changes"]) if points and share_keys(points) else []
    plain = all(not isinstance(value, Mapping | list) for point in points for value in point["changes"].values())
    return keys if plain and len(keys) <= most else []


def unfinished(points: Sequence[Point]) -> list[Point]:
    """The points that are not done: those that run or wait, then those that were pruned or failed."""
    kept = [point for point in points if point["status"] in _BEFORE]
    return sorted(kept, key=lambda point: (_BEFORE[point["status"]], point["point"]))
