"""One point of a sweep: its run folder, with the students that it shares or trains; validation alone, never test."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kdrecipes.data.prepare import Data
from kdrecipes.disk.files import locked, tried_lock
from kdrecipes.errors import KDRecipesError, RunError, one_line
from kdrecipes.recipe.sweep_points import SweepPoint
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import write_facts
from kdrecipes.runs.arm_digests import arm_digest
from kdrecipes.runs.arms import Arm, arms_of
from kdrecipes.runs.dataset_facts import dataset_facts
from kdrecipes.runs.decisions import decide, decide_all
from kdrecipes.runs.folder import RunFolder, open_run
from kdrecipes.runs.memory import memory_errors
from kdrecipes.runs.origin import check_origin
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.provenance import origin
from kdrecipes.runs.rehearsal import refuse_precision
from kdrecipes.runs.run import decide_outputs
from kdrecipes.runs.shared_arms import KeptArm, give, kept_arm, train_kept_arm, write_validation
from kdrecipes.runs.sweep_parts import Parts
from kdrecipes.runs.time_worked import TimeWorked
from kdrecipes.training.keeper import Row

OnRows = Callable[[Arm, list[Row]], None]


@dataclass
class Outcome:
    """What a point gave.

    Attributes:
        dataset: as sweep.json has it.
        labels: int64 (validation images,).
        index: int64 (validation images,), which they are.
        logits: of each arm, float32 (validation images, classes).
        trained, shared: how many students it trained and took.
    """

    dataset: dict[str, Any]
    labels: NDArray[Any]
    index: NDArray[Any]
    logits: dict[Arm, NDArray[Any]] = field(default_factory=dict)
    trained: int = 0
    shared: int = 0


def run_point(
    point: SweepPoint, parts: Parts, *, wait: bool, on_rows: OnRows = lambda arm, rows: None
) -> Outcome | None:
    """Make a point's run folder; one that was interrupted goes on.

    Args:
        point: of the sweep.
        parts: shared with the other points.
        wait: whether to wait for students that another process trains.
        on_rows: gets the epochs of a student that is trained, after each.

    Returns:
        What it gave; None where another process trains a student of it, and `wait` is false.

    Raises:
        RunError: when it fails. Its traceback is in its log.
    """
    path = parts.out / "points" / point.name
    with open_run(point.recipe, path, overwrite=False) as folder:
        progress, worked = Progress(path / "log.txt", quiet=True), TimeWorked(folder)

        def each_epoch(arm: Arm, rows: list[Row]) -> None:
            worked.keep()
            on_rows(arm, rows)

        try:
            with _told(progress), memory_errors(point.recipe):
                found = _students(point.recipe, folder, parts, progress, wait, each_epoch, worked)
                if found is None:
                    worked.keep()
                    return None
                outcome, data = found
                write_validation(path, data, list(outcome.logits.items()))
        finally:
            worked.note()
        folder.set_status("done")
        return outcome


@contextmanager
def _told(progress: Progress) -> Iterator[None]:
    """Whatever fails is in the point's log, and becomes an error in words."""
    try:
        yield
    except KDRecipesError as error:
        told = traceback.format_exc() if error.__cause__ is not None else str(error)
        progress.record(told, logging.ERROR)
        raise
    except Exception as error:  # a stranger's component may raise anything
        progress.record(traceback.format_exc(), logging.ERROR)
        raise RunError(f"The point stopped: {one_line(error)}. The traceback is in {progress.log}.") from error


def _students(
    recipe: Recipe,
    folder: RunFolder,
    parts: Parts,
    progress: Progress,
    wait: bool,
    on_rows: OnRows,
    worked: TimeWorked,
) -> tuple[Outcome, Data] | None:
    refuse_precision(recipe, parts.device)
    data = parts.data(recipe)
    check_origin(folder, origin(recipe, data.fingerprint, parts.device), data.listing)
    write_facts(folder.path, "dataset", dataset_facts(recipe, data))
    hearing = decide_outputs(recipe, data, folder)
    jit = decide_all(folder, "compile", lambda: parts.compiling(recipe, data))
    anew = decide(folder, "recalibrate_batch_norm", lambda: parts.recalibrating(recipe, data))
    teachers = parts.teachers(recipe, data, jit)
    outcome = Outcome(_dataset(recipe, data), data.validation.labels, data.validation.index)
    found: dict[Arm, KeptArm] = {}

    def student(arm: Arm, patient: bool) -> None:
        digest = arm_digest(recipe, arm, data, teachers, hearing, jit["student"], anew, parts.device)
        place, lock = parts.out / "arms" / digest[:32], parts.out / ".locks" / f"arm-{digest[:32]}"
        kept = kept_arm(place)
        if kept is None:
            with _held(lock, patient, progress, arm, worked) as mine:
                if not mine:
                    return
                kept = kept_arm(place)
                if kept is None:
                    heard = parts.heard(recipe, data, teachers, hearing) if arm.arm == "kd" else {}
                    keep = lambda rows: on_rows(arm, rows)  # noqa: E731
                    fit = (heard, jit["student"], anew)
                    kept = train_kept_arm(
                        place, folder.path.name, recipe, arm, data, *fit, keep=keep, progress=progress
                    )
        found[arm] = kept

    arms = arms_of(recipe)
    for patient in (False, True):  # first what nobody else trains
        for arm in arms:
            if arm not in found and (wait or not patient):
                student(arm, patient)
    if len(found) < len(arms):
        return None
    for arm in arms:
        give(found[arm], arm, folder)
        outcome.logits[arm] = found[arm].logits
    outcome.trained = sum(one.point == folder.path.name for one in found.values())
    outcome.shared = len(arms) - outcome.trained
    return outcome, data


@contextmanager
def _held(lock: Path, patient: bool, progress: Progress, arm: Arm, worked: TimeWorked) -> Iterator[bool]:
    """The lock of a student; patient: wait for it."""
    if patient:
        told = f"another process trains {arm.label}; waiting for it"
        with ExitStack() as held:
            with worked.waiting():
                held.enter_context(locked(lock, waiting=lambda: progress.record(told)))
            yield True
        return
    with tried_lock(lock) as mine:
        yield mine


def _dataset(recipe: Recipe, data: Data) -> dict[str, Any]:
    return {
        "name": recipe.dataset.name,
        "fingerprint": data.fingerprint,
        "classes": len(data.classes),
        "train": data.images,
        "validation": len(data.validation),
    }
