"""The arms of a run: one student each, trained from its seed's own initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes import backend
from kdrecipes import saved_models as students
from kdrecipes.backend import keras
from kdrecipes.data.prepare import Data
from kdrecipes.errors import RunError, one_line
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import ArmFacts
from kdrecipes.report.predictions import ENSEMBLE
from kdrecipes.runs.build import build_callbacks, build_distiller, build_model
from kdrecipes.runs.decisions import Decision
from kdrecipes.runs.folder import RunFolder
from kdrecipes.runs.predict import predict
from kdrecipes.runs.predictions import ensemble_of
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.recalibration import batch_norm_facts
from kdrecipes.runs.saved import save_network
from kdrecipes.runs.teacher import Teacher, view_settings
from kdrecipes.training.fit import fit
from kdrecipes.training.keeper import Row
from kdrecipes.training.state import StateFolder


@dataclass(frozen=True)
class Arm:
    """One student of a run."""

    arm: str
    seed: int

    @property
    def label(self) -> str:
        """`"kd-0"`: its name in files and messages."""
        return f"{self.arm}-{self.seed}"


def arms_of(recipe: Recipe) -> list[Arm]:
    """The students to train, in order: for each seed the baseline, then the distilled one."""
    kinds = [*(["baseline"] if recipe.compare.baseline else []), *(["kd"] if recipe.teachers else [])]
    return [Arm(kind, seed) for seed in recipe.compare.seeds for kind in kinds]


def train_arm(
    recipe: Recipe,
    arm: Arm,
    data: Data,
    teachers: Mapping[str, Teacher],
    jit: Decision,
    anew: Decision,
    folder: RunFolder,
    progress: Progress,
    trackers: Sequence[Any] = (),
) -> None:
    """Train one arm from the seed's own initial weights and save its student.

    `jit` is from `choose_compile`, `anew` from `choose_recalibration`; `trackers` are Keras callbacks.
    """

    def keep(rows: list[Row]) -> None:
        folder.keep_rows(arm.arm, arm.seed, rows)
        progress.curves(folder.rows, recipe.train.epochs)

    with progress.clock.part("arm", arm.label) as part:
        made = fit_arm(
            recipe, arm, data, teachers, jit, anew, folder=folder.path, progress=progress, keep=keep, trackers=trackers
        )
        folder.keep_arm(arm.label, made.facts)
        StateFolder(folder.path / "state").clear()
        part.by = "both" if arm.label in progress.continued else "this"


@dataclass(frozen=True)
class TrainedArm:
    """A student that is trained and saved, with a row for each epoch and what is written down of it."""

    student: keras.Model
    rows: list[Row]
    facts: ArmFacts


def fit_arm(
    recipe: Recipe,
    arm: Arm,
    data: Data,
    teachers: Mapping[str, Teacher],
    jit: Decision,
    anew: Decision,
    *,
    folder: Path,
    progress: Progress,
    keep: Callable[[list[Row]], None] = lambda rows: None,
    trackers: Sequence[Any] = (),
) -> TrainedArm:
    """Train one arm's student from the seed's own initial weights, and save it.

    Args:
        recipe, arm, data, teachers, jit, anew, progress, trackers: as for `train_arm`.
        folder: holds `students/`, and `state/`, from which an interrupted fit goes on; callbacks write there.
        keep: gets all rows so far after each epoch.
    """
    backend.seed_everything(arm.seed)
    heard = teachers if arm.arm == "kd" else {}
    distiller = build_distiller(
        recipe,
        data,
        build_model(recipe, recipe.student, data),
        {name: teacher.model for name, teacher in heard.items()},
    )
    outputs = {name: teacher.outputs for name, teacher in heard.items() if teacher.outputs is not None}
    rows = fit(
        distiller,
        data,
        replace(recipe.train, recalibrate_batch_norm=anew.use),
        size=data.student_size,
        label=arm.label,
        order_seed=arm.seed,
        settings=view_settings(recipe),
        state=StateFolder(folder / "state"),
        teachers=outputs,
        mixed=data.mixture(recipe, taught=arm.arm == "kd"),
        teacher_sizes={name: data.teacher_sizes[name] for name in distiller.teachers.asked(outputs)},
        jit_compile=jit.use,
        callbacks=[*build_callbacks(recipe, folder=str(folder), arm=arm.arm, seed=arm.seed), *trackers],
        on_epoch=keep,
        watch=progress.watch(arm.label, recipe.train.epochs),
        tell=progress.note,
    )
    student = distiller.student  # a term may have put another one in the place of the recipe's
    path = save_network(recipe, recipe.student, data, student, folder / "students", arm.label, distiller.replaced)
    facts = ArmFacts(
        arm=arm.arm,
        seed=arm.seed,
        student=path.relative_to(folder).as_posix(),
        params=student.count_params(),
        labels=len(data.train) if data.train.labelled else 0,
        epochs=len(rows),
        steps=sum(row["steps"] for row in rows),
        seconds=sum(row["seconds"] for row in rows),
        batch_norm=batch_norm_facts(
            student, anew, min(anew.use, rows[-1]["steps"]) if len(rows) == recipe.train.epochs else 0
        ),
        network=distiller.replaced,
    )
    return TrainedArm(student, rows, facts)


def _opened(file: Path, build: Callable[[], keras.Model]) -> keras.Model:
    """A saved student.

    Raises:
        RunError: when its file is damaged, and nothing stands beside it by which that was known before.
    """
    try:
        return students.load(file, build)
    except Exception as error:  # Keras, zipfile, HDF5 and safetensors each have their own for damaged files
        raise RunError(f"{file} can't be read ({one_line(error)}). Delete it: then it is trained again.") from error


def evaluate_once(
    recipe: Recipe, data: Data, teachers: Mapping[str, Teacher], folder: RunFolder
) -> dict[str, NDArray[Any]]:
    """Test logits of teachers and of every saved student, as the file gives them back, by their keys."""
    logits = {name: predict(one.model, data.test, data.teacher_sizes[name]) for name, one in teachers.items()}
    if len(teachers) > 1:
        logits[ENSEMBLE] = ensemble_of(recipe, logits)
    for arm in arms_of(recipe):
        saved = _opened(folder.student(arm.label), lambda: build_model(recipe, recipe.student, data))
        logits[arm.label] = predict(saved, data.test, data.student_size)
        if not np.isfinite(logits[arm.label]).all():
            raise RunError(f"{arm.label}: the trained student gives logits on test images that are not finite.")
    return logits
