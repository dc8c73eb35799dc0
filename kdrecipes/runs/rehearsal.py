"""What is tried before hours go in: every kind of fit on black images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import keras, seed_everything, synchronize
from kdrecipes.data.prepare import Data
from kdrecipes.errors import KDRecipesError, RunError, one_line
from kdrecipes.recipe.tables import Recipe
from kdrecipes.runs.build import build_distiller, build_model, mixes
from kdrecipes.runs.progress import OUTPUTS, PlannedFit
from kdrecipes.runs.teach import logits_of
from kdrecipes.runs.teacher import view_settings
from kdrecipes.runs.teacher_outputs import count_views
from kdrecipes.training import saved_models as students
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.fit import prepare_steps


def plan_fits(
    recipe: Recipe, data: Data, arms: Sequence[Any], cached: bool, jit: Mapping[str, Any]
) -> list[PlannedFit]:
    """Rehearse every kind of fit on black images, so that what cannot work fails before hours go into the teacher.

    Args:
        recipe, data: of the run.
        arms: in order; each has an `arm` and a `label`.
        cached: whether the teacher's outputs are computed once, before the arms.
        jit: from `choose_compile`.

    Returns:
        The fits in order, each with the measured seconds of one step.
    """
    seed_everything(0)
    train = recipe.data["train"]
    teacher = build_model(recipe, "teacher", data) if "teacher" in recipe.data else None
    mixed, plan = mixes(recipe), []

    def add(label: str, settings: Mapping[str, Any], seconds: float) -> None:
        plan.append(PlannedFit(label, settings["epochs"] * (len(data.train) // settings["batch_size"]), seconds))

    if teacher is not None and (own := recipe.data["teacher"].get("train")):
        distiller = build_distiller(recipe, data, teacher, None, role="teacher")
        options = {"role": "teacher", "mixed": mixed, "jit_compile": jit["teacher"]["use"]}
        add("teacher", own, rehearse(distiller, data, own, **options)[1])
    if teacher is not None and cached:
        views, batch = count_views(data.train, view_settings(recipe), train["epochs"]), train["batch_size"]
        seconds = rehearse_inference(logits_of(recipe, teacher), batch, data.teacher_size)
        plan.append(PlannedFit(OUTPUTS, views // batch, seconds))
    steps: dict[str, float] = {}
    for arm in arms:
        if arm.arm not in steps:
            student, taught = build_model(recipe, "student", data), arm.arm == "kd"
            distiller = build_distiller(recipe, data, student, teacher if taught else None)
            options = {"mixed": mixed, "cached": cached and taught, "jit_compile": jit["student"]["use"]}
            steps[arm.arm] = rehearse(distiller, data, train, **options)[1]
            if len(steps) == 1:
                _refuse_unsaveable(student, lambda: build_model(recipe, "student", data))
        add(arm.label, train, steps[arm.arm])
    return plan


def rehearse(
    distiller: Distiller,
    data: Data,
    train: Mapping[str, Any],
    *,
    role: str = "student",
    mixed: bool,
    cached: bool = False,
    jit_compile: bool = False,
) -> tuple[float, float]:
    """Two steps of a throw-away distiller on one batch of black images.

    Args:
        distiller, data, train: as for `fit`.
        role: who learns, "student" or "teacher".
        mixed: whether the views mix examples, and with them labels.
        cached: whether the batches will bring the teacher's logits.
        jit_compile: whether the network's step goes through `torch.compile`.

    Returns:
        Seconds of the first step, which holds the compilation, and of the second.

    Raises:
        RunError: what a first step would have raised, such as features whose shapes do not fit.
    """
    n, size = train["batch_size"], data.size(role)
    x = {"image": keras.ops.zeros((n, size, size, 3))}
    if distiller.asks_teacher(cached) and data.teacher_size != size:
        x["teacher_image"] = keras.ops.zeros((n, data.teacher_size, data.teacher_size, 3))
    if cached:
        x["teacher"] = keras.ops.zeros((n, len(data.classes)), "float16")
    labels = np.zeros(n, np.int64)
    if mixed:
        labels = np.eye(len(data.classes), dtype=np.float32)[labels]
    batch: tuple = (x, labels) if data.train.labelled or distiller.label_weight else (x,)
    if train.get("class_weight"):
        batch = (*batch, np.ones(n, np.float32))
    times = []
    try:
        prepare_steps(distiller, train, 10, jit_compile)
        for _ in range(2):
            started = time.monotonic()
            distiller.train_step(batch)
            synchronize()
            times.append(time.monotonic() - started)
    except KDRecipesError:
        raise
    except Exception as error:  # a plugin's term or layer may raise anything
        raise RunError(f"A first training step on black images failed: {one_line(error)}") from error
    return times[0], times[1]


def rehearse_inference(logits_of: Callable[[Any], Any], images: int, size: int) -> float:
    """Ask a network twice for its logits on black images (images, size, size, 3); returns the second time's seconds.

    Raises:
        RunError: when it can't give any.
    """
    black = keras.ops.zeros((images, size, size, 3))
    try:
        with torch.inference_mode():
            for _ in range(2):
                started = time.monotonic()
                logits_of(black)
                synchronize()
    except Exception as error:  # a plugin's layer may raise anything
        raise RunError(f"The teacher failed on black images: {one_line(error)}") from error
    return time.monotonic() - started


def refuse_precision(recipe: Recipe, device: str) -> None:
    """Refuse float16 where there is no GPU: the kernels are slow or missing there.

    Raises:
        RunError: naming the key.
    """
    teacher = recipe.data.get("teacher", {})
    tables = {"train": recipe.data["train"], "teacher": teacher, "teacher.train": teacher.get("train", {})}
    for key, table in tables.items():
        if table.get("precision") == "float16" and not device.startswith("cuda"):
            raise RunError(f'{key}.precision = "float16" needs a CUDA GPU; this run is on {device}. Use "bfloat16".')


def _refuse_unsaveable(student: keras.Model, build: Callable[[], keras.Model]) -> None:
    """Save and reload a student before it is trained: a layer that can't be loaded again would lose the training."""
    with tempfile.TemporaryDirectory() as folder:
        path = (Path(folder) / "student").with_suffix(students.ending_of(student))
        try:
            students.save(student, path)
            students.load(path, build)
        except Exception as error:
            raise RunError(
                f"student: {student.name!r} can't be saved and loaded again as a {path.suffix} file "
                f"({one_line(error)[:300]})."
                + (
                    " Register custom layers with keras.saving.register_keras_serializable, and give them a get_config."
                    if path.suffix == ".keras"
                    else ""
                )
            ) from error
