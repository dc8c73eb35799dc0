"""A sweep, from its points to their ranking: one after the other, shared with whoever works in the same folder."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.disk.files import locked, tried_lock
from kdrecipes.disk.home import check_home
from kdrecipes.errors import KDRecipesError, Preempted, RecipeError
from kdrecipes.extras import need
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.recipe.sweep_points import SweepPoint
from kdrecipes.report.sweep_results import Point, SweepResults, check_sweep, standing_of
from kdrecipes.report.sweep_table import shortened
from kdrecipes.report.sweep_words import point_words
from kdrecipes.runs.confirm import confirm
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.resumed import given, resuming
from kdrecipes.runs.search import Pruned, Search
from kdrecipes.runs.sweep_folder import SweepFolder, entry_of, open_sweep, place_of, record
from kdrecipes.runs.sweep_parts import Parts
from kdrecipes.runs.sweep_point import run_point
from kdrecipes.runs.trackers import need_callbacks
from kdrecipes.stopping import stoppable
from kdrecipes.wording import readable_seconds

_CLOSED = ("done", "failed", "pruned")


def run_sweep(
    sweep: Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    overwrite: bool = False,
    best: int = 0,
) -> SweepResults:
    """Train every point of a sweep and rank them by validation accuracy.

    The same sweep in the same folder goes on. Several processes may work in one folder: each takes points that nobody
    has, and those of a process that died. What points share is made once.

    Args:
        sweep: from `load_sweep`.
        out: its folder. Default: `runs/<name>-sweep` under the working directory.
        device: as for `run`.
        overwrite: start afresh where the folder holds a sweep, of these points or others.
        best: how many of the best points are run again with fresh seeds, and measured on test.

    Returns:
        What sweep.json holds. A point that failed says why, and then its status is "failed".

    Raises:
        RunError: when a confirming run fails (exit code 1).
        UsageError: when the folder holds another sweep (2).
        EnvironmentProblem: when the folder can't be written, or another process is in the way (3).
    """
    path = place_of(sweep, out)
    for recipe in [point.recipe for point in sweep.points] or [sweep.recipe]:
        need_callbacks(recipe)
    if sweep.kind == "search":
        need("A search", ("optuna",), "optuna")
    device = backend.device_name(device)
    backend.keep_freed_memory()
    check_home()
    folder = open_sweep(sweep, path, device, overwrite, best)
    progress = Progress(path / "log.txt")
    way_on = resuming(path, given(sweep.recipe)["plugins"])
    with stoppable(way_on), keras.device(device), tried_lock(folder.lock("first")) as first:
        folder.ask(sweep, best, device, alone=first)
        work = _Work(sweep, folder, device, progress, first)
        try:
            with progress.shown():
                work.through()
                work.end()
            confirm(sweep, folder, best, device, progress)
        except (KeyboardInterrupt, Preempted, KDRecipesError):
            with suppress(KDRecipesError):  # a full disk must not hide why the sweep ended
                with folder.update() as results:
                    results["status"] = "stopped"
                folder.write_page()
            raise
    progress.note(f"sweep: {path / 'sweep.html'}")
    return folder.read()


class _Work:
    """What one process does for a sweep.

    Args:
        sweep, folder, device, progress: the sweep's.
        first: whether no other process works on it; then points that failed before are tried again.
    """

    def __init__(self, sweep: Sweep, folder: SweepFolder, device: str, progress: Progress, first: bool):
        self.sweep, self.folder, self.progress = sweep, folder, progress
        self.points = list(sweep.points)
        self.search = Search(sweep, folder) if sweep.kind == "search" else None
        self.parts = Parts(folder.path, device, progress)
        self.again = {one.name for one in self.listed() if folder.status_of(one.name) == "failed"} if first else set()
        self.began, self.before = time.monotonic(), 0

    def through(self) -> None:
        """Work until every point is done or has failed."""
        self.before = len(self.points) - len(list(self.open()))
        if self.before:
            total = max(len(self.points), self.sweep.trials)
            self.progress.note(f"{self.folder.path}: {self.before} of {total} points are there already")
        while True:
            waiting = list(self.open())
            if sum(self.took(point, wait=False) for point in waiting):
                continue
            if self.search and (drawn := self.search.draw()):
                self.took(drawn, wait=False)
            elif waiting:
                self.took(waiting[0], wait=True)
            else:
                return

    def end(self) -> None:
        """Every point is through: the sweep's status, its page, and of a search what its keys matter."""
        with self.folder.update() as results:
            results["status"] = standing_of(results)
            results["importance"] = self.search.importance() if self.search else None
            check_sweep(results)
        self.folder.write_page()

    def open(self) -> Iterable[SweepPoint]:
        """The points that are not done, and have not failed in this sweep's turn, by sweep.json.

        A process may have been killed when a point's own files said that it is through and sweep.json did not yet.
        """
        points = self.listed()
        told = {entry["point"]: entry["status"] for entry in self.folder.read()["points"]}
        return [point for point in points if not self._closed(point.name, told[point.name])]

    def _closed(self, name: str, status: str) -> bool:
        return status in _CLOSED and not (status == "failed" and name in self.again)

    def listed(self) -> list[SweepPoint]:
        """All points; of a search those that are drawn, by other processes too."""
        for entry in self.folder.read()["points"][len(self.points) :] if self.search else ():
            # What can't be made into a recipe was closed as it was drawn.
            with suppress(RecipeError):
                point = SweepPoint(entry["point"], entry["changes"], self.sweep.changed(entry["changes"]))
                self.points.append(point)
        return self.points

    def took(self, point: SweepPoint, wait: bool) -> bool:
        """Work on a point, unless another process has it or has been through it; returns whether it was this one."""
        lock = self.folder.lock(f"point-{point.name}")
        if wait:
            with locked(lock, waiting=lambda: self.progress.note(f"waiting for another process: point {point.name}")):
                return self._worked(point, wait)
        with tried_lock(lock) as mine:
            return mine and self._worked(point, wait)

    def _worked(self, point: SweepPoint, wait: bool) -> bool:
        if self._closed(point.name, entry_of(self.folder.read(), point.name)["status"]):
            return False
        if (through := self.folder.given_up(point.name)) and point.name not in self.again:
            self._tell(point, self._given_up(point, *through))
            return True
        with self.folder.update() as results:
            results["status"] = "running"
            entry_of(results, point.name)["status"] = "running"
        try:
            watch = {"on_rows": self.search.watcher(point)} if self.search else {}
            outcome = run_point(point, self.parts, wait=wait, **watch)
        except KDRecipesError as error:
            self.again.discard(point.name)
            status: Literal["pruned", "failed"] = "pruned" if isinstance(error, Pruned) else "failed"
            self.folder.close(point.name, status, str(error))
            self._tell(point, self._given_up(point, status, str(error)))
            return True
        except (KeyboardInterrupt, Preempted):
            self._waits(point)
            raise
        if outcome is None:
            self._waits(point)
            return False
        with self.folder.update() as results:
            record(self.folder, results, point.name, outcome)
        self._tell(point, results)
        return True

    def _waits(self, point: SweepPoint) -> None:
        """A point that this process leaves before its end."""
        with self.folder.update() as results:
            entry = entry_of(results, point.name)
            entry["status"], entry["seconds"] = "waiting", self.folder.seconds_of(point.name)

    def _given_up(self, point: SweepPoint, status: Literal["pruned", "failed"], message: str) -> SweepResults:
        """A point that failed, or that the search gave up."""
        with self.folder.update() as results:
            entry = entry_of(results, point.name)
            entry["status"], entry["message"] = status, message
            entry["seconds"] = self.folder.seconds_of(point.name)
        return results

    def _tell(self, point: SweepPoint, results: SweepResults) -> None:
        """One line for a point that is through, with the time that is left where more are to come."""
        if self.search:
            self.search.tell(results, point.name)
        entry, points = entry_of(results, point.name), results["points"]
        total = max(len(points), self.sweep.trials)
        through = sum(self._closed(one["point"], one["status"]) for one in points)
        words = [f"point {point.name} ({through}/{total})  {shortened(point_words(entry), 80)}", *_figures(entry)]
        if (left := total - through) and (mine := through - self.before) > 0:
            each = (time.monotonic() - self.began) / mine
            words.append(f"about {readable_seconds(each * left)} left")
        self.progress.note(", ".join(words))


def _figures(entry: Point) -> list[str]:
    if entry["validation_accuracy"] is None:
        return [f"{entry['status']}: {entry['message']}"]
    shared = f"{entry['arms_shared']} student{'s' * (entry['arms_shared'] != 1)} shared"
    return [
        *([shared] if entry["arms_shared"] else []),
        f"validation {100 * entry['validation_accuracy']['mean']:.2f} %",
        readable_seconds(entry["seconds"]),
    ]
