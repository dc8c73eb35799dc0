"""A sweep's folder: which sweep it holds, how its points stand, and sweep.json, which its processes write in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from kdrecipes.disk.files import disk_errors, is_locked, locked, remove_entries, remove_unfinished, write_json
from kdrecipes.disk.json_files import parsed, read_json, write_sealed
from kdrecipes.disk.owners import refuse_foreign
from kdrecipes.disk.summed_files import read_summed, sums_of
from kdrecipes.disk.writable import refuse_file
from kdrecipes.errors import EnvironmentProblem, UsageError, one_line
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.recipe.sweep_points import SweepPoint
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.sweep_page import write_sweep_page
from kdrecipes.report.sweep_results import (
    FILE,
    Point,
    Right,
    SweepResults,
    accuracy_of,
    check_sweep,
    difference,
    rank,
    write_sweep,
)
from kdrecipes.report.sweep_validation import by_arm, read_right
from kdrecipes.runs.arm_digests import arm_key
from kdrecipes.runs.arms import arms_of
from kdrecipes.runs.folder import read_object
from kdrecipes.runs.other_sweep import LOCK, refuse_others
from kdrecipes.runs.provenance import command, environment, versions
from kdrecipes.runs.resumed_sweep import as_given
from kdrecipes.runs.sweep_point import Outcome

# What a sweep writes, and all that --overwrite removes.
_ENTRIES = ("points", "arms", "confirm", "decisions", FILE, "sweep.html", "search.log", "log.txt", LOCK)


def place_of(sweep: Sweep, out: str | Path | None) -> Path:
    """The folder of a sweep: `out`, or where none is named `runs/<name>-sweep` under the working directory."""
    return Path(out) if out is not None else Path("runs") / f"{sweep.recipe.name}-sweep"


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, path: Path):
        self.path = path

    def lock(self, name: str) -> Path:
        """The lock file of a point, a student or a step, which the process holds that works on it."""
        return self.path / ".locks" / name

    def read(self) -> SweepResults:
        """sweep.json as it is now: not validated, which takes longer than all else for a sweep of many points.

        Raises:
            UsageError: when it is damaged.
        """
        try:
            results: SweepResults = parsed(read_summed(self.path / FILE))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.path / FILE} can't be read ({one_line(error)}). Choose another folder with --out, or replace "
                "that sweep with --overwrite."
            ) from error
        return results

    @contextmanager
    def update(self) -> Iterator[SweepResults]:
        """sweep.json to be changed in the block, by one process at a time; written when it ends."""
        with locked(self.lock("results")):
            for file in (self.path / FILE, sums_of(self.path / FILE)):
                remove_unfinished(self.path, file.name)
            results = self.read()
            yield results
            rank(results["points"])
            results["seconds"] = round(sum(point["seconds"] for point in results["points"]), 3)
            results["trainings"]["done"] = len(list(self.path.glob("arms/*/arm.json")))
            write_sweep(self.path, results)

    def write_page(self) -> None:
        """Write sweep.html from sweep.json; one process at a time, so that what a killed one left can be removed."""
        with locked(self.lock("page")):
            remove_unfinished(self.path, "sweep.html")
            write_sweep_page(self.path)

    def _standing(self, point: str) -> dict[str, Any]:
        try:
            return dict(read_json(self.path / "points" / point / "status.json"))
        except (OSError, ValueError, TypeError):
            return {}

    def status_of(self, point: str) -> str:
        """How a point stands, by its own status.json; "waiting" where there is none."""
        return str(self._standing(point).get("status", "waiting"))

    def given_up(self, point: str) -> tuple[Literal["failed", "pruned"], str] | None:
        """How a point ended that gave nothing, and why, by its own status.json; None of any other."""
        told = self._standing(point)
        status = told.get("status")
        return (status, str(told.get("error", ""))) if status in ("failed", "pruned") else None

    def seconds_of(self, point: str) -> float:
        """How long was worked on a point so far, over all times that it was taken up."""
        return float(self._standing(point).get("seconds", 0.0))

    def close(self, point: str, status: str, message: str) -> None:
        """Write down that nothing more is done for a point."""
        told = {**self._standing(point), "status": status, "error": message}
        write_json(self.path / "points" / point / "status.json", told)

    def ask(self, sweep: Sweep, best: int, device: str, alone: bool) -> None:
        """Write down what this process is asked, and its command where that reproduces what is there.

        Args:
            sweep, best, device: as for `run_sweep`.
            alone: whether no other process works on the sweep, which may have been asked to confirm more.
        """
        with locked(self.lock("folder")):
            lock = read_object(self.path / LOCK)
            asked = lock | as_given(sweep, best, device, None if alone else lock.get("asked"))
            if asked != lock:
                write_sealed(self.path / LOCK, asked)
        with self.update() as results:
            results["to_confirm"] = best if alone else max(best, results.get("to_confirm", 0))
            draws = sweep.trials if sweep.kind == "search" else len(results["points"])
            if best >= len(results["confirmed"]) and draws >= len(results["points"]):
                results["command"] = command()

    def right(self, point: str) -> tuple[Right, Right, Any] | None:
        """As `read_right` of a point; None where its file can't be read."""
        try:
            return read_right(self.path / "points" / point)
        except (OSError, ValueError, KeyError):
            return None


def open_sweep(sweep: Sweep, path: Path, device: str, overwrite: bool, best: int) -> SweepFolder:
    """The folder of a sweep, begun or gone on with; the arguments are those of `run_sweep`.

    Raises:
        UsageError: when it holds another sweep, or files that are none.
        EnvironmentProblem: when it can't be written or holds what another user owns, or `overwrite` would take it from
            under another process.
    """
    refuse_file(path)
    refuse_foreign(path, "Choose another folder with --out.")
    with disk_errors(path, "Choose another folder with --out."):
        (path / ".locks").mkdir(parents=True, exist_ok=True)
    folder = SweepFolder(path)
    with locked(folder.lock("folder")):
        remove_unfinished(path, LOCK)
        refuse_others(sweep, path, overwrite)
        if overwrite:
            _clear(path)
        if not (path / FILE).is_file() or not (path / LOCK).is_file():
            _begin(sweep, path, device, best)
    return folder


def _clear(path: Path) -> None:
    """Remove what a sweep wrote, and nothing else."""
    busy = [lock.name for lock in (path / ".locks").glob("*") if lock.name != "folder" and is_locked(lock)]
    if busy:
        raise EnvironmentProblem(
            f"Another process works on the sweep in {path}. Wait for it, or choose another folder with --out."
        )
    remove_entries(path, _ENTRIES)


def _begin(sweep: Sweep, path: Path, device: str, best: int) -> None:
    points, recipe = [new_point(point) for point in sweep.points], sweep.recipe
    results: SweepResults = {
        "schema_version": 1,
        "name": recipe.name,
        "status": "running",
        "command": command(),
        "recipe_sha256": recipe.fingerprint,
        "kind": sweep.kind,
        "swept": sweep.swept,
        "seeds": list(sweep.seeds),
        "dataset": None,
        "points": points,
        "importance": None,
        "confirmed": [],
        "trainings": {**count_of([arm_keys(point.recipe) for point in sweep.points]), "done": 0},
        "seconds": 0.0,
        "environment": environment(recipe, device),
    }
    check_sweep(results)
    lock = {
        "sweep_sha256": sweep.digest,
        "recipe_sha256": recipe.fingerprint,
        "recipe": recipe.data,
        "swept": sweep.swept,
        "seeds": list(sweep.seeds),
        "command": command(),
        "versions": versions(recipe),
        **as_given(sweep, best, device),
    }
    write_sealed(path / LOCK, lock)
    write_sweep(path, results)


def arm_keys(recipe: Recipe) -> list[str]:
    """What tells a point's students from those of others, as far as its recipe tells."""
    return [arm_key(recipe, arm) for arm in arms_of(recipe)]


def count_of(keys: Sequence[Sequence[str]]) -> dict[str, int]:
    """How many students so many points have, and how many of them differ."""
    every = [key for of_point in keys for key in of_point]
    return {"without_sharing": len(every), "planned": len(set(every))}


def new_point(point: SweepPoint) -> Point:
    """A point of which nothing is known yet."""
    return blank_point(point.name, point.changes, point.label, point.recipe.fingerprint)


def blank_point(name: str, changes: Mapping[str, Any], label: str, sha256: str) -> Point:
    """The same from its name, changes, label and fingerprint."""
    return {
        "point": name,
        "changes": dict(changes),
        "label": label,
        "status": "waiting",
        "message": None,
        "recipe_sha256": sha256,
        "rank": None,
        "validation_accuracy": None,
        "kd_minus_baseline": None,
        "kd_minus_first": None,
        "arms_trained": 0,
        "arms_shared": 0,
        "seconds": 0.0,
    }


def entry_of(results: SweepResults, name: str) -> Point:
    """A point's entry."""
    return next(point for point in results["points"] if point["point"] == name)


def record(folder: SweepFolder, results: SweepResults, name: str, outcome: Outcome) -> None:
    """Write what a point gave into its entry; and compare with the first point whatever can be compared now."""
    entry = entry_of(results, name)
    kd, baseline = by_arm({arm.label: one for arm, one in outcome.logits.items()}, outcome.labels)
    entry["status"], entry["message"] = "done", None
    entry["validation_accuracy"] = accuracy_of(kd, baseline)
    entry["kd_minus_baseline"] = difference(kd, baseline)
    entry["arms_trained"], entry["arms_shared"] = outcome.trained, outcome.shared
    entry["seconds"] = folder.seconds_of(name)
    results["dataset"] = results["dataset"] or outcome.dataset
    first = results["points"][0]
    told = folder.right(first["point"]) if first["status"] == "done" else None
    for other in results["points"][1:] if told else ():
        waiting = other["status"] == "done" and other["kd_minus_first"] is None
        if other is entry or (waiting and entry is first):
            other["kd_minus_first"] = _minus_first(folder.right(other["point"]), told)


def _minus_first(own: Any, first: Any) -> Any:
    """A point's students minus the first one's; None where their validation images differ."""
    if own is None or own[2].shape != first[2].shape or (own[2] != first[2]).any():
        return None
    return difference(own[0] or own[1], first[0] or first[1])
