"""A run, from recipe to report: the straight line."""

from __future__ import annotations

import json
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.building import build_callbacks, build_distiller, build_model
from kdrecipes.data.prepare import Data, prepare
from kdrecipes.disk.files import disk_errors, new_file
from kdrecipes.environment import command, environment, origin
from kdrecipes.errors import KDRecipesError, RunError, one_line
from kdrecipes.evaluation import predict
from kdrecipes.progress import OUTPUTS, Progress
from kdrecipes.recipe.tables import Recipe
from kdrecipes.rehearsal import choose_compile, plan_fits, refuse_precision
from kdrecipes.report import build_report, write_report
from kdrecipes.run_folder import RunFolder, check_origin, decide, open_run
from kdrecipes.teacher import (
    Teacher,
    check_teacher,
    choose_outputs,
    prepare_teacher,
    teacher_outputs,
    view_settings,
)
from kdrecipes.teacher_outputs import CachedOutputs
from kdrecipes.training import saved_models as students
from kdrecipes.training.fit import fit
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


def run(
    recipe: Recipe, out: str | Path | None = None, *, device: str = "auto", overwrite: bool = False
) -> dict[str, Any]:
    """Train what a recipe describes and report what distillation bought.

    The same recipe in the same folder continues after the last whole epoch; a finished run returns its report again.

    Args:
        recipe: from `load_recipe`.
        out: the run folder. Default: `runs/<name>` under the working directory.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        overwrite: start afresh where the folder holds a run, of this recipe or another.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: when data, teacher or training fail (exit code 1).
        UsageError: when the folder holds another recipe's run (2).
        EnvironmentProblem: when data, disk or plugins are missing (3).
    """
    path = Path(out) if out is not None else Path("runs") / recipe.name
    device = backend.device_name(device)
    backend.keep_freed_memory()
    with open_run(recipe, path, overwrite) as folder:
        progress = Progress(path / "log.txt")
        if folder.status.get("status") == "done" and (path / "report.json").is_file():
            progress.note(f"{path} holds the finished run; this is its report again")
            return json.loads((path / "report.json").read_text(encoding="utf-8"))
        with keras.device(device), progress.shown():
            try:
                return _straight_line(recipe, folder, progress, device)
            except KDRecipesError:
                raise
            except Exception as error:
                progress.record(traceback.format_exc())
                raise RunError(f"The run stopped: {one_line(error)}. The traceback is in {progress.log}.") from error


def _straight_line(recipe: Recipe, folder: RunFolder, progress: Progress, device: str) -> dict[str, Any]:
    refuse_precision(recipe, device)
    data = prepare(recipe, progress.preparing)
    warnings = check_origin(folder, origin(recipe, data.fingerprint, device))
    choice = decide(folder, "teacher_outputs", lambda: choose_outputs(recipe, data)) if "teacher" in recipe.data else {}
    jit = decide(folder, "compile", lambda: choose_compile(recipe, data, device, len(arms_of(recipe))))
    progress.plan = plan_fits(recipe, data, arms_of(recipe), choice.get("use") == "cached", jit)
    teacher = outputs = None
    if "teacher" in recipe.data:
        epochs = recipe.data["teacher"].get("train", {}).get("epochs", 0)
        watch = progress.watch("teacher", epochs)
        teacher = prepare_teacher(recipe, data, watch, progress.note, jit_compile=jit["teacher"]["use"])
        folder.keep_rows("teacher", recipe.data["seed"], teacher.rows)
        check_teacher(recipe, teacher, data)
        warnings += teacher.warnings
        outputs = teach(recipe, data, teacher, choice, device, folder, progress)
    for arm in arms_of(recipe):
        if arm.label not in folder.status.get("arms", {}) or not folder.student(arm.label).is_file():
            train_arm(recipe, arm, data, teacher, outputs, jit["student"]["use"], folder, progress)
    logits = evaluate_once(recipe, data, teacher, folder)
    facts = environment(recipe, device)
    arms = folder.status["arms"]
    report = build_report(recipe, data, teacher, folder.rows, arms, logits, warnings, facts, command())
    write_report(report, folder.path, recipe, data.classes, folder.rows, logits)
    folder.set_status("done")
    progress.note(f"report: {folder.path / 'report.html'}")
    return report


def arms_of(recipe: Recipe) -> list[Arm]:
    """The students to train, in order: for each seed the baseline, then the distilled one."""
    kinds = ["baseline"] if recipe.data["compare"]["baseline"] else []
    if "teacher" in recipe.data:
        kinds.append("kd")
    return [Arm(kind, seed) for seed in recipe.data["compare"]["seeds"] for kind in kinds]


def teach(
    recipe: Recipe,
    data: Data,
    teacher: Teacher,
    choice: Mapping[str, str],
    device: str,
    folder: RunFolder,
    progress: Progress,
) -> CachedOutputs | None:
    """The teacher's logits on all that the students will be shown; None where they ask it at every step.

    The seconds that the run spends on computing them are kept in its status, over interruptions.
    """
    if choice["use"] == "live":
        progress.note(f"{OUTPUTS}: live, since {choice['why']}")
        return None
    outputs = teacher_outputs(recipe, data, teacher, device, progress)
    teacher.outputs_seconds = round(folder.status.get("outputs_seconds", 0.0) + outputs.seconds, 3)
    folder.set_status("running", outputs_seconds=teacher.outputs_seconds)
    return outputs


def train_arm(
    recipe: Recipe,
    arm: Arm,
    data: Data,
    teacher: Teacher | None,
    outputs: CachedOutputs | None,
    jit_compile: bool,
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Train one arm from the seed's own initial weights and save its student."""
    backend.seed_everything(arm.seed)
    student = build_model(recipe, "student", data)
    distiller = build_distiller(recipe, data, student, teacher.model if teacher and arm.arm == "kd" else None)
    state = StateFolder(folder.path / "state")
    rows = fit(
        distiller,
        data,
        recipe.data["train"],
        size=data.student_size,
        label=arm.label,
        order_seed=arm.seed,
        settings=view_settings(recipe),
        state=state,
        teacher=outputs if arm.arm == "kd" else None,
        teacher_size=data.teacher_size if distiller.asks_teacher(outputs is not None) else None,
        jit_compile=jit_compile,
        callbacks=build_callbacks(recipe, folder=str(folder.path), arm=arm.arm, seed=arm.seed),
        on_epoch=lambda rows: folder.keep_rows(arm.arm, arm.seed, rows),
        watch=progress.watch(arm.label, recipe.data["train"]["epochs"]),
    )
    path = folder.path / "students" / f"{arm.label}{students.ending_of(student)}"
    with disk_errors(folder.path), tempfile.TemporaryDirectory(dir=folder.path, prefix=".student-") as temporary:
        students.save(student, Path(temporary) / path.name)  # Keras writes in place and wants that ending
        with new_file(path) as file:
            file.write((Path(temporary) / path.name).read_bytes())
    facts = {
        "student": path.relative_to(folder.path).as_posix(),
        "params": student.count_params(),
        "epochs": len(rows),
        "steps": sum(row["steps"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
    }
    folder.set_status("running", arms={**folder.status.get("arms", {}), arm.label: facts})
    state.clear()


def evaluate_once(recipe: Recipe, data: Data, teacher: Teacher | None, folder: RunFolder) -> dict[str, np.ndarray]:
    """Test logits of the teacher and of every saved student, as the file gives them back; kept in predictions.npz."""
    logits = {} if teacher is None else {"teacher": predict(teacher.model, data.test, data.teacher_size)}
    for arm in arms_of(recipe):
        saved = students.load(folder.student(arm.label), lambda: build_model(recipe, "student", data))
        logits[arm.label] = predict(saved, data.test, data.student_size)
        if not np.isfinite(logits[arm.label]).all():
            raise RunError(f"{arm.label}: the trained student gives logits on test images that are not finite.")
    with new_file(folder.path / "predictions.npz") as file:
        stored: dict[str, Any] = {"labels": data.test.labels, **logits}
        np.savez(file, **stored)
    return logits
