"""`kdrecipes run --replay-step`: the step that stopped a run, run again from the last state in a copy of its folder."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.disk.files import locked, remove_unfinished
from kdrecipes.disk.home import check_home
from kdrecipes.disk.json_files import write_sealed
from kdrecipes.disk.passing import passing_folder
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError, UsageError, one_line
from kdrecipes.recipe.tables import ComponentTable, Recipe
from kdrecipes.report.run_list import check_run_folder
from kdrecipes.report.step_words import UNCHANGED
from kdrecipes.runs.build import is_tracker
from kdrecipes.runs.changes import difference
from kdrecipes.runs.energy import machine
from kdrecipes.runs.folder import STOPPED_AT, open_run, read_object
from kdrecipes.runs.memory import memory_errors
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.run import straight_line
from kdrecipes.runs.trackers import need_callbacks, tracked
from kdrecipes.stopping import saving_nothing, stoppable
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.fit import observed
from kdrecipes.training.step_replay import Replayed, StepReplay

# What no fit reads; a report of it would be as large as the run.
_LEFT_OUT = (".*", "log.txt", "report.*", "figures", "export", "tensorboard", "wandb", "trackers")


def replay_step(recipe: Recipe, out: str | Path | None = None, *, device: str = "auto") -> dict[str, Any]:
    """Run again the step that stopped a run, since its loss, a gradient or a weight was no number.

    The run goes on in a copy of its folder, from its last state to that step, as it would go on itself: but without
    trackers, and nothing of the run is changed. The copy lies in the run folder. Where a kill leaves it behind, the
    next command that works there removes it.

    Args:
        recipe, out, device: as for `kdrecipes.run`.

    Returns:
        What the step computed, see `Replayed`.

    Raises:
        UsageError: when the folder holds no run of this recipe, or no such step stopped it (exit code 2).
        RunError: when the run stops before that step (1).
        EnvironmentProblem: when another process runs in the folder, or there is no room for the copy (3).
    """
    path = Path(out) if out is not None else Path("runs") / recipe.name
    check_run_folder(path)
    alone = locked(path / ".lock", f"Another process is running in {path}. Wait for it.")
    with stoppable(), saving_nothing(UNCHANGED), alone:
        step = _stopped_at(recipe, path)
        trackers = [table for table in recipe.callbacks if is_tracker(recipe, table)]
        recipe = _only_looked_at(recipe)
        need_callbacks(recipe)
        name = backend.device_name(device)
        backend.keep_freed_memory()
        check_home()
        remove_unfinished(path)
        with passing_folder(path) as folder:
            copy = folder / path.resolve().name
            try:
                shutil.copytree(path, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
            except OSError as error:
                raise EnvironmentProblem(
                    f"{path} can't be copied to {folder} ({one_line(error)[:200]}). Make room on that disk, or run "
                    "the command on a copy of the folder elsewhere."
                ) from error
            try:
                _forget_trackers(copy, trackers)
                return _replayed(recipe, copy, name, step)
            except KDRecipesError as error:
                error.args = (str(error.args[0]).replace(str(copy), str(path)), *error.args[1:])
                raise
            except Exception as error:
                raise RunError(f"The run stopped before that step: {one_line(error)}.") from error


def _stopped_at(recipe: Recipe, path: Path) -> dict[str, Any]:
    """The step that stopped a run, as its status tells it.

    Raises:
        UsageError: when none did, or the run is another recipe's.
    """
    lock = read_object(path / "lock.json")
    if lock.get("recipe_sha256") != recipe.fingerprint:
        raise UsageError(
            f"{path} holds the run of another recipe: {difference(lock.get('recipe', {}), recipe.data)}. To run its "
            "step again, give the recipe and the --set of the command that began it."
        )
    status = read_object(path / "status.json")
    step = status.get(STOPPED_AT)
    if status.get("status") != "failed" or not isinstance(step, dict):
        raise UsageError(
            f"There is no step to run again in {path}: its state is {status.get('status', 'unknown')!r}, and "
            "--replay-step is for a run that failed because a loss, a gradient or a weight was no number."
        )
    numbers = [step.get("epoch"), step.get("step")]
    if not isinstance(step.get("fit"), str) or any(type(one) is not int or one < 1 for one in numbers):
        raise UsageError(
            f"{path / 'status.json'} is damaged: its {STOPPED_AT!r} names no step. The same command without "
            "--replay-step goes on with the run; where it comes to such a step again, it says so anew."
        )
    return step


def _only_looked_at(recipe: Recipe) -> Recipe:
    """The recipe without trackers, and with fits that save no state within an epoch: a teacher's is of all runs."""
    teachers = {
        id: replace(table, train=table.train and replace(table.train, save_every_seconds=math.inf))
        for id, table in recipe.teachers.items()
    }
    return replace(
        recipe,
        train=replace(recipe.train, save_every_seconds=math.inf),
        teachers=teachers,
        callbacks=tuple(table for table in recipe.callbacks if not is_tracker(recipe, table)),
    )


def _forget_trackers(copy: Path, trackers: Iterable[ComponentTable]) -> None:
    """Take them out of what a copied run began with: that they are gone is no change that anybody made."""
    lock = read_object(copy / "lock.json")
    origin = lock.get("origin")
    components = origin.get("components") if isinstance(origin, dict) else None
    if isinstance(components, dict):  # the run's first steps say what is wrong with any other
        gone = {f"{table.kind} {table.name}" for table in trackers}
        left = {name: provider for name, provider in components.items() if name not in gone}
        write_sealed(copy / "lock.json", {**lock, "origin": {**origin, "components": left}})


def _replayed(recipe: Recipe, copy: Path, device: str, step: dict[str, Any]) -> dict[str, Any]:
    progress = Progress()

    def listener(label: str, distiller: Distiller, loader: Loader, callbacks: list[Any]) -> None:
        if label == step["fit"]:
            callbacks.append(StepReplay(distiller, loader, step["epoch"], step["step"]))

    try:
        with (
            open_run(recipe, copy, False) as folder,
            keras.device(device),
            progress.shown(),
            memory_errors(recipe),
            tracked(recipe, copy, progress.note) as trackers,
            observed(listener),
        ):
            straight_line(recipe, folder, progress, device, machine(), trackers)
    except Replayed as replayed:
        return replayed.step
    raise RunError(f"The run did not come to step {step['step']} of epoch {step['epoch']} of {step['fit']}.")
