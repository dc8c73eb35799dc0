"""What a run or a sweep ended with, without its times, and where two of them differ."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

_TIMES = ("seconds", "time")  # endings of keys that differ between two runs that nobody stopped


def timeless(value: Any) -> Any:
    """JSON without times."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if not key.endswith(_TIMES)}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def networks(folder: Path) -> dict[str, bytes]:
    """The weights of each network in a folder, by its file."""
    found = {}
    for file in sorted(folder.rglob("*.keras")):
        with zipfile.ZipFile(file) as archive:
            found[str(file.relative_to(folder))] = archive.read("model.weights.h5")
    return found


def difference(one: Any, other: Any, path: str = "") -> str:
    """Where two values first differ, in words; empty where they do not."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((told for key in one if (told := difference(one[key], other[key], f"{path}.{key}"))), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((told for i, (a, b) in pairs if (told := difference(a, b, f"{path}[{i}]"))), "")
    return "" if one == other else f"{path}: {str(one)[:80]} and not {str(other)[:80]}"
