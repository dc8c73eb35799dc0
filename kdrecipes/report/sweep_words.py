"""The settings of a sweep's points in words: keys with their values, as short as they can be told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kdrecipes.report.sweep_results import Point, ranked

Compared = Literal["kd_minus_baseline", "kd_minus_first"]
AS_IT_IS = "the recipe as it is"
_BARE = ("name", "terms")  # keys whose values need no word before them
_LAST = ("label_weight", "student_layers", "teacher_layers")
_BEFORE = {"running": 0, "waiting": 1, "pruned": 2, "failed": 3}  # the order of points that are not done


def value_words(value: Any) -> str:
    """`4.0` → `"4"`, `{"name": "dkd", "beta": 2.0}` → `"dkd beta=2"`, `["a", 1]` → `"a + 1"`.

    What tells most comes first, since a text may be cut off: of `[loss]` its terms, of a term its name.
    """
    if isinstance(value, Mapping):
        named = [value_words(value[key]) for key in _BARE if key in value]
        rest = sorted((key for key in value if key not in _BARE), key=lambda key: key in _LAST)
        return " ".join([*named, *(f"{key}={value_words(value[key])}" for key in rest)]) or "empty"
    if isinstance(value, list):
        return " + ".join(map(value_words, value)) or "empty"
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def point_words(point: Point) -> str:
    """What a point changes: `loss=dkd beta=2, student.width=8`."""
    return ", ".join(f"{key}={value_words(value)}" for key, value in point["changes"].items()) or AS_IT_IS


def short_words(point: Point, shared: bool) -> str:
    """The same in fewer words: the values alone where all points change the same keys, which `shared` tells."""
    return (", ".join(map(value_words, point["changes"].values())) or AS_IT_IS) if shared else point_words(point)


def share_keys(points: Sequence[Point]) -> bool:
    """Whether all points change the same keys."""
    return len({frozenset(point["changes"]) for point in points}) == 1


def columns_of(points: Sequence[Point], most: int = 4) -> list[str]:
    """The keys that have a column each in the table of points: where all points change the same few.

    Empty where they don't: then one column tells what each point changes.
    """
    keys = list(points[0]["changes"]) if points and share_keys(points) else []
    return keys if len(keys) <= most else []


def compared_with(points: Sequence[Point]) -> dict[Compared, str]:
    """What points are compared with, by the key of the difference: `labels only`, `point 000`; what any point has."""
    names: dict[Compared, str] = {"kd_minus_baseline": "labels only"}
    if points:
        names["kd_minus_first"] = f"point {points[0]['point']}"
    return {key: what for key, what in names.items() if any(point[key] for point in ranked(points))}


def is_plain(points: Sequence[Point], key: str) -> bool:
    """Whether all points give a key a value that is no table and no list."""
    return all(not isinstance(point["changes"].get(key), Mapping | list) for point in points)


def unfinished(points: Sequence[Point]) -> list[Point]:
    """The points that are not done: those that run or wait, then those that were pruned or failed."""
    kept = [point for point in points if point["status"] in _BEFORE]
    return sorted(kept, key=lambda point: (_BEFORE[point["status"]], point["point"]))
