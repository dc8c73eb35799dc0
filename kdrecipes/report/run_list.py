"""Which run folders lie below a folder, how each stands, and what it found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdrecipes.disk.files import is_locked
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import UsageError, one_line
from kdrecipes.report.table import table_rows

STATES = ("done", "failed", "preempted", "running")  # that status.json knows; "killed" and "damaged" are found out


@dataclass(frozen=True)
class FoundRun:
    """A run folder.

    Attributes:
        path: the folder.
        state: "running", "done", "failed", "preempted" (stopped by Ctrl-C or SIGTERM), "killed" (it ended without a
            word: status.json says that it runs, and no process does), or "damaged".
        recipe: the recipe's name; empty where it can't be read.
        figures: of a finished run, test accuracy (a share, mean over seeds) by who: "teacher", or the ids of several
            and "ensemble"; "baseline"; "kd".
        bytes: of all its files.
        error: why it failed; empty for any other.
    """

    path: Path
    state: str
    recipe: str
    figures: dict[str, float]
    bytes: int
    error: str


def check_run_folder(run: Path) -> None:
    """Refuse a folder that is no run's.

    Raises:
        UsageError: when it has no lock.json.
    """
    if (run / "sweep.json").is_file():
        raise UsageError(
            f"{run} is the folder of a sweep, not of a run. Its runs are those under {run / 'confirm'}, which "
            "`kdrecipes sweep … --confirm 3` makes."
        )
    if not (run / "lock.json").is_file():
        raise UsageError(f"{run} is no run folder: it has no lock.json. A run's is runs/<name>, or what --out said.")


def check_finished(folder: Path, why: str = "a report is made of finished runs only") -> None:
    """Refuse a run folder whose run has not ended, or that a report can't be made from.

    Args:
        folder: a run folder.
        why: what asks for a finished run, for the message.

    Raises:
        UsageError: saying what goes on.
    """
    try:
        status = read_json(folder / "status.json")["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder / 'status.json'} can't be read ({one_line(error)}). "
            f"`kdrecipes run RECIPE --out {folder} --overwrite` makes the run anew."
        ) from error
    if status != "done":
        raise UsageError(
            f"The run in {folder} is not finished ({status}), and {why}. The command that "
            f"began it continues it: `kdrecipes run RECIPE --out {folder}`."
        )
    if not (folder / "facts").exists():
        raise UsageError(
            f"{folder} holds a run of an earlier version: it has no folder facts, which a report is made from. Its "
            "report.json and report.html stay as they are, and that version can show them again. "
            f"`kdrecipes run RECIPE --out {folder} --overwrite` makes the run anew."
        )


def find_runs(folder: Path) -> list[FoundRun]:
    """The runs in a folder and below it, or the folder itself where it is one, by path.

    Raises:
        UsageError: when there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Runs are in runs/<name>, or where --out said.")
    return [_found(path) for path in _run_folders(folder)]


def _run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a lock.json; what is hidden or inside a run is not looked at."""
    for path, names, files in os.walk(folder):
        if "lock.json" in files:
            names.clear()
            yield Path(path)
        names[:] = sorted(name for name in names if not name.startswith("."))


def _found(path: Path) -> FoundRun:
    lock, status = _object(path / "lock.json"), _object(path / "status.json")
    state, recipe = status.get("status"), lock.get("recipe")
    if state == "running" or not (path / "status.json").is_file():  # lock.json is written first
        state = "running" if is_locked(path / ".lock") else "killed"
    name = recipe.get("name") if isinstance(recipe, dict) else None
    return FoundRun(
        path=path,
        state=state if isinstance(name, str) and state in (*STATES, "killed") else "damaged",
        recipe=name if isinstance(name, str) else "",
        figures=_figures(_object(path / "report.json")) if state == "done" else {},
        bytes=_size(path),
        error=str(status.get("error", "")) if state == "failed" else "",
    )


def _object(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none."""
    try:
        value = read_json(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _figures(report: dict[str, Any]) -> dict[str, float]:
    try:
        rows = table_rows(report)
        several = sum(row["role"] == "teacher" for row in rows) > 1
        return {_who(row, several): float(row["accuracy"]) for row in rows}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # another version's, or a damaged one
        return {}


def _who(row: dict[str, Any], several: bool) -> str:
    """Who a row of the report's table is of: its role, or of several teachers the id."""
    return str(row["of"][0].get("id", "ensemble")) if several and row["role"] == "teacher" else str(row["role"])


def _size(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += Path(folder, name).lstat().st_size
            except FileNotFoundError:  # a running process has removed it
                continue
    return total
