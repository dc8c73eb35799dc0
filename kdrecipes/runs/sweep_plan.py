"""What a sweep will train, counted before anything is prepared, and how long by what it took so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import RecipeError
from kdrecipes.hashing import digest
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.recipe.sweep_points import SweepPoint, counted
from kdrecipes.recipe.sweep_text import Span
from kdrecipes.report.sweep_results import FILE, read_sweep
from kdrecipes.runs.arm_digests import arm_key
from kdrecipes.runs.arms import arms_of
from kdrecipes.runs.other_sweep import refuse_others
from kdrecipes.runs.sweep_folder import count_of, place_of

KINDS = {"baseline": "students, labels only", "kd": "students, distilled"}


def plan_of(
    sweep: Sweep,
    out: Path | None,
    *,
    overwrite: bool = False,
    best: int = 0,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """How many students and teachers a sweep trains. Nothing is run.

    Args:
        sweep, out, overwrite, best: as for `run_sweep`. Students that are in the folder count as done, and tell how
            long one takes; with `overwrite` none is.
        note: takes a line every few seconds, where a search has many points.

    Returns:
        `points`; `seeds`; `by_kind`: of "students, labels only", "students, distilled", "students, confirming" and
        "teachers", how many `without_sharing` and how many `planned`; `trainings` of the points' students, as in
        sweep.json; `seconds` that all students take that are left, None where nothing tells.

    Raises:
        UsageError: when the folder holds another sweep, or files that are none.
    """
    path = place_of(sweep, out)
    refuse_others(sweep, path, overwrite)
    keys: dict[str, list[str]] = {"baseline": [], "kd": []}
    teachers: list[str] = []
    points = sweep.points or _of_search(sweep, note)
    for point in points:
        for arm in arms_of(point.recipe):
            keys[arm.arm].append(arm_key(point.recipe, arm))
        tuned = [table for table in point.recipe.teachers.values() if table.train]
        teachers += [_teacher_key(point.recipe, table) for table in tuned]
    by_kind = {KINDS[kind]: count_of([found]) for kind, found in keys.items() if found}
    students = {word: sum(of[word] for of in by_kind.values()) for word in count_of([])}
    confirming = _confirming(points, best)
    if confirming:
        by_kind["students, confirming"] = dict.fromkeys(students, sum(map(len, confirming)))
    if teachers:
        by_kind["teachers"] = count_of([teachers])
    took = _finished(path) if not overwrite else {kind: [] for kind in keys}
    left = {kind: max(0, len(set(found)) - len(took[kind])) for kind, found in keys.items()}
    for kind in (kind for arms in confirming[0 if overwrite else _confirmed(path) :] for kind in arms):
        left[kind] += 1
    return {
        "points": len(points),
        "seeds": list(sweep.seeds),
        "by_kind": by_kind,
        "trainings": {**students, "done": sum(map(len, took.values()))},
        "seconds": _seconds(left, took),
    }


def _confirming(points: Sequence[SweepPoint], best: int) -> list[list[str]]:
    """The kinds of students that each confirming run trains, where the best points are those with the most students."""
    every = [[arm.arm for arm in arms_of(point.recipe)] for point in points]
    return sorted(every, key=len, reverse=True)[:best]


def _confirmed(path: Path) -> int:
    """How many points of a sweep that is there are confirmed."""
    return len(read_sweep(path)["confirmed"]) if (path / FILE).is_file() else 0


def _of_search(sweep: Sweep, note: Callable[[str], None]) -> list[SweepPoint]:
    """Points as a search may draw them, as many: their values are in the middle of nowhere, and all differ."""
    found = []
    for number in counted(range(sweep.trials), note):
        share = (number + 1) / (sweep.trials + 1)
        changes = {key: _drawn(space, share, number) for key, space in sweep.space.items()}
        with suppress(RecipeError):
            found.append(SweepPoint(f"{number:03}", changes, sweep.changed(changes)))
    return found


def _drawn(space: Any, share: float, number: int) -> Any:
    if not isinstance(space, Span):
        return space[number % len(space)].value
    value = space.low + share * (space.high - space.low)
    return int(value) if isinstance(space.low, int) else value


def _teacher_key(recipe: Any, table: Any) -> str:
    dataset = {key: value for key, value in recipe.data["dataset"].items() if key != "test"}
    train = table.train.data if table.train else None
    return digest(table.name, table.options, table.seed, train, table.image_size, dataset, recipe.seed)


def _finished(path: Path) -> dict[str, list[float]]:
    """By kind, the seconds of each student that a sweep's folder has."""
    found: dict[str, list[float]] = {"baseline": [], "kd": []}
    for file in sorted(path.glob("arms/*/arm.json")):
        try:
            facts = read_json(file)["facts"]
            found[facts["arm"]].append(float(facts["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):  # it will be trained again
            continue
    return found


def _seconds(left: dict[str, int], took: dict[str, list[float]]) -> float | None:
    """Of the students that are left: each takes what one of its kind took, else one of the other kind."""
    every = [seconds for kind in took.values() for seconds in kind]
    if not every:
        return None
    return round(sum(count * float(np.mean(took[kind] or every)) for kind, count in left.items()), 3)
