"""How a run differs from the recipe that is asked for, whether that may take its place, what an older version wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdrecipes.disk.json_files import parsed, read_json
from kdrecipes.recipe.resolve import counted


def added_seeds(old: Any, new: Mapping[str, Any]) -> list[int]:
    """The seeds that a recipe has beyond those of a run's, where the two differ in nothing else; else none.

    Each student follows from its own seed, so what is trained stays as it is.
    """
    try:
        had, has = list(old["compare"]["seeds"]), list(new["compare"]["seeds"])
        alike = counted({**old, "compare": {**old["compare"], "seeds": has}}) == counted(new)
    except (KeyError, TypeError, AttributeError):  # the lock of another version, or a damaged one
        return []
    return [seed for seed in has if seed not in had] if alike and set(had) <= set(has) else []


def difference(old: Any, new: Mapping[str, Any]) -> str:
    """The first keys whose values differ between two resolved recipes; the old one is what a lock.json holds."""

    def leaves(value: Any, path: str = "") -> dict[str, Any]:
        parts: list[tuple[str, Any]] = []
        if isinstance(value, Mapping):
            parts = [(f"{path}.{key}".lstrip("."), part) for key, part in value.items()]
        elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            parts = [(f"{path}[{i}]", part) for i, part in enumerate(value)]
        return {k: v for at, part in parts for k, v in leaves(part, at).items()} if parts else {path: value}

    a, b = leaves(counted(old) if isinstance(old, dict) else old), leaves(counted(new))
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    shown = [f"{key} was {a.get(key, 'absent')} and is {b.get(key, 'absent')}" for key in keys[:3]]
    return ", ".join(shown) + (" …" if len(keys) > 3 else "")


def nothing_trained(run: Path) -> bool:
    """Whether a run folder holds nothing that training made; what it holds is made again in no time.

    What a teacher's fine-tuning left under KDRECIPES_HOME stays there, whatever becomes of the folder.

    Args:
        run: a run folder that no process works in, or this one alone.
    """
    made = ("students", "teachers", "state", "predictions.npz", "report.json", "facts/arms.json")
    if any(any((run / name).iterdir()) if (run / name).is_dir() else (run / name).exists() for name in made):
        return False
    try:
        rows = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return all(parsed(row)["arm"] == "teacher" for row in rows)
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):  # a damaged history is one
        return False


def lacks_labels(path: Path) -> bool:
    """Whether an earlier version, to which every training image had its label, wrote the facts of the data."""
    try:
        facts = read_json(path / "facts" / "dataset.json")
    except (OSError, ValueError):  # whoever reads it next says what is wrong
        return False
    return isinstance(facts, dict) and "labelled" not in facts
