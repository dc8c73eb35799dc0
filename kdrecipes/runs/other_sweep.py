"""What a folder holds in place of a sweep that is asked for, and how that differs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdrecipes.disk.writable import refuse_file
from kdrecipes.errors import UsageError
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.report.sweep_results import FILE
from kdrecipes.runs.changes import difference
from kdrecipes.runs.folder import read_object

LOCK = "sweep_lock.json"  # makes a folder a sweep's


def refuse_others(sweep: Sweep, path: Path, overwrite: bool) -> None:
    """Refuse a folder that holds another sweep, or files that are none.

    Raises:
        UsageError: saying how the sweeps differ. `overwrite` allows another sweep.
    """
    refuse_file(path)
    if not path.exists():
        return
    others = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if not (path / LOCK).is_file():
        if others:
            raise UsageError(
                f"{path} holds files that are no sweep ({', '.join(others[:3])} …). Choose another folder with --out."
            )
        return
    lock = read_object(path / LOCK)
    if overwrite or lock.get("sweep_sha256") == sweep.digest:
        return
    if lock.get("recipe_sha256") != sweep.recipe.fingerprint:
        apart = difference(lock.get("recipe", {}), sweep.recipe.data)
    else:
        apart = " and ".join(_apart(sweep, lock, path))
    raise UsageError(
        f"{path} holds another sweep: {apart}. Choose another folder with --out, or replace that sweep with "
        "--overwrite."
    )


def _apart(sweep: Sweep, lock: Mapping[str, Any], path: Path) -> list[str]:
    """How another sweep of the same recipe differs, in words; at least one."""
    found, seeds = [], lock.get("seeds")
    if lock.get("swept") != sweep.swept:
        found.append(f"it swept {', '.join(lock.get('swept', ()))} where this one sweeps {', '.join(sweep.swept)}")
    elif sweep.kind != "search" and _changes_in(path) != [dict(point.changes) for point in sweep.points]:
        found.append("its points are others")
    if seeds != list(sweep.seeds):
        found.append(f"its seeds were {seeds} and are {list(sweep.seeds)}")
    return found or ["its points are others"]


def _changes_in(path: Path) -> list[Any]:
    """What each point of a sweep that is there changes; empty where it doesn't tell."""
    with suppress(UsageError, KeyError, TypeError):
        return [point["changes"] for point in read_object(path / FILE)["points"]]
    return []
