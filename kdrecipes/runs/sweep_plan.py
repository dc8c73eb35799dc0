"""What a sweep will train, counted before anything is prepared, and how long by what it took so far."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.errors import RecipeError
from kdrecipes.hashing import digest
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.recipe.sweep_points import SweepPoint
from kdrecipes.recipe.sweep_text import Span
from kdrecipes.runs.arm_digests import arm_key
from kdrecipes.runs.arms import arms_of
from kdrecipes.runs.sweep_folder import place_of

KINDS = {"baseline": "students, labels only", "kd": "students, distilled"}


def plan_of(sweep: Sweep, out: Path | None) -> dict[str, Any]:
    """How many students and teachers a sweep trains. Nothing is run.

    Args:
        sweep: from `load_sweep`.
        out: its folder, as for `run_sweep`; where there is one, students that are there tell how long one takes.

    Returns:
        `points`; `seeds`; `by_kind`: of "students, labels only", "students, distilled" and "teachers", how many
        `without_sharing` and how many `planned`; `trainings` of students, as in sweep.json; `seconds` that the students
        take that are left, None where nothing tells.
    """
    path = place_of(sweep, out)
    keys: dict[str, list[str]] = {"baseline": [], "kd": []}
    teachers: list[str] = []
    points = sweep.points or _of_search(sweep)
    for point in points:
        for arm in arms_of(point.recipe):
            keys[arm.arm].append(arm_key(point.recipe, arm))
        tuned = [table for table in point.recipe.teachers.values() if table.train]
        teachers += [_teacher_key(point.recipe, table) for table in tuned]
    by_kind = {KINDS[kind]: _counted(found) for kind, found in keys.items() if found}
    if teachers:
        by_kind["teachers"] = _counted(teachers)
    students = {word: sum(by_kind[k][word] for k in by_kind if k != "teachers") for word in _counted([])}
    took = _finished(path)
    return {
        "points": len(points),
        "seeds": list(sweep.seeds),
        "by_kind": by_kind,
        "trainings": {**students, "done": sum(map(len, took.values()))},
        "seconds": _seconds({kind: len(set(found)) for kind, found in keys.items()}, took),
    }


def _of_search(sweep: Sweep) -> list[SweepPoint]:
    """Points as a search may draw them, as many: their values are in the middle of nowhere, and all differ."""
    found = []
    for number in range(sweep.trials):
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


def _counted(keys: list[str]) -> dict[str, int]:
    return {"without_sharing": len(keys), "planned": len(set(keys))}


def _teacher_key(recipe: Any, table: Any) -> str:
    dataset = {key: value for key, value in recipe.data["dataset"].items() if key != "test"}
    train = table.train.data if table.train else None
    return digest(table.name, table.options, table.seed, train, table.image_size, dataset, recipe.seed)


def _finished(path: Path) -> dict[str, list[float]]:
    """By kind, the seconds of each student that a sweep's folder has."""
    found: dict[str, list[float]] = {"baseline": [], "kd": []}
    for file in sorted(path.glob("arms/*/arm.json")):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))["facts"]
            found[facts["arm"]].append(float(facts["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):  # it will be trained again
            continue
    return found


def _seconds(planned: dict[str, int], took: dict[str, list[float]]) -> float | None:
    """Of the students that are left: each takes what one of its kind took, else one of the other kind."""
    every = [seconds for kind in took.values() for seconds in kind]
    if not every:
        return None
    left = {kind: max(0, planned[kind] - len(took[kind])) for kind in planned}
    return round(sum(count * float(np.mean(took[kind] or every)) for kind, count in left.items()), 3)
