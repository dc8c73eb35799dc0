"""What is tried before hours go in: every kind of fit on black images."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kdrecipes import saved_models as students
from kdrecipes.backend import check_policy, keras, seed_everything, synchronize
from kdrecipes.data.prepare import Data
from kdrecipes.data.splits import NO_LABEL
from kdrecipes.disk.files import disk_errors
from kdrecipes.disk.passing import passing_folder
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError, one_line
from kdrecipes.keras_private import flat_layers
from kdrecipes.recipe.tables import Recipe, TeacherTable, TrainTable
from kdrecipes.runs.arms import Arm
from kdrecipes.runs.build import build_distiller, build_model, build_tuner, mixes
from kdrecipes.runs.decisions import EAGER, Decision
from kdrecipes.runs.preflight import RANGE_IMAGES
from kdrecipes.runs.progress import PlannedFit
from kdrecipes.runs.teach import logits_of, outputs_label, views_taught
from kdrecipes.term_places import place_in
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.fit import prepare_steps, validated
from kdrecipes.training.inference import at_input_size


def plan_fits(
    recipe: Recipe,
    data: Data,
    arms: Sequence[Arm],
    cached: Collection[str],
    jit: Mapping[str, Decision],
) -> list[PlannedFit]:
    """Rehearse every kind of fit on black images, so that what cannot work fails before hours go into the teacher.

    Args:
        recipe, data: of the run.
        arms: in order.
        cached: names of the teachers whose outputs are computed once, before the arms.
        jit: from `choose_compile`.

    Returns:
        The fits in order, each with the measured seconds of one step and of its validation; and the tests at the end.
    """
    seed_everything(0)
    teachers = {name: build_model(recipe, table, data) for name, table in recipe.teachers.items()}
    tuned = {
        name: _rehearse_tuning(recipe, table, data, teachers[name], jit)
        for name, table in recipe.teachers.items()
        if table.train
    }
    looks = {
        name: _seconds_a_look(recipe, table, data, teachers[name], name in cached)
        for name, table in recipe.teachers.items()
    }
    plan, seen = [], len(data.validation)
    for name, (seconds, train) in tuned.items():
        images = train.epochs * (len(data.train) // train.batch_size) * train.batch_size
        passes = len(validated(train.epochs, images // train.epochs, data)) + 1  # the last one is the preflight's
        also = (passes * seen + 2 * min(RANGE_IMAGES, seen)) * looks[name]
        plan.append(PlannedFit(recipe.label_of(recipe.teachers[name]), images // train.batch_size, seconds, also))
    size = recipe.train.batch_size
    for name in [name for name in recipe.teachers if name in cached]:
        label = outputs_label(recipe, recipe.teachers[name])
        plan.append(PlannedFit(label, views_taught(recipe, data) // size, looks[name] * size))
    rehearsed: dict[str, tuple[float, float]] = {}
    for arm in arms:
        if arm.arm not in rehearsed:
            heard = teachers if arm.arm == "kd" else {}
            rehearsed[arm.arm] = _rehearse_arm(recipe, data, heard, cached, jit, saves=not rehearsed)
        seconds, look = rehearsed[arm.arm]
        steps = recipe.train.epochs * data.mixture(recipe, taught=arm.arm == "kd").steps
        plan.append(PlannedFit(arm.label, steps, seconds, recipe.train.epochs * seen * look))
    tests = len(data.test) * (sum(looks.values()) + sum(rehearsed[arm.arm][1] for arm in arms))
    return [*plan, PlannedFit("tests", 0, 0.0, tests)]


def _rehearse_tuning(
    recipe: Recipe, table: TeacherTable, data: Data, model: keras.Model, jit: Mapping[str, Decision]
) -> tuple[float, TrainTable]:
    """Seconds of a step of a teacher's fine-tuning, and how it is trained."""
    train = recipe.training_of(table)
    tuner = build_tuner(recipe, table, model)
    batch = black_batch(recipe, data, tuner, train, data.size(table))
    return rehearse(tuner, train, batch, jit[recipe.label_of(table)])[1], train


def _seconds_a_look(recipe: Recipe, table: TeacherTable, data: Data, model: keras.Model, heard: bool) -> float:
    """Seconds in which a teacher gives the logits of one image, asked about a batch as the students or tests ask it."""
    size = recipe.train.batch_size
    asked = (
        logits_of(recipe, table, model) if heard else lambda image: model(at_input_size(image, model), training=False)
    )
    return rehearse_inference(asked, size, data.size(table), recipe.label_of(table)) / size


def _rehearse_arm(
    recipe: Recipe,
    data: Data,
    teachers: Mapping[str, keras.Model],
    cached: Collection[str],
    jit: Mapping[str, Decision],
    *,
    saves: bool,
) -> tuple[float, float]:
    """Seconds of a student's step and of its logits for one image; `saves`: whether to save and load it too.

    A student that a term put in the plain one's place is saved and loaded in any case.
    """
    plain, n = build_model(recipe, recipe.student, data), recipe.train.batch_size
    distiller = build_distiller(recipe, data, plain, teachers)
    student = distiller.student
    batch = black_batch(recipe, data, distiller, recipe.train, data.student_size, cached if teachers else ())
    seconds = rehearse(distiller, recipe.train, batch, jit["student"], [term.place for term in recipe.loss.terms])[1]
    if saves or student is not plain:
        _refuse_unsaveable(student, lambda: build_model(recipe, recipe.student, data))
    look = rehearse_inference(lambda image: student(image, training=False), n, data.student_size, "student")
    return seconds, look / n


def black_batch(
    recipe: Recipe, data: Data, distiller: Distiller, train: TrainTable, size: int, cached: Collection[str] = ()
) -> tuple[Any, ...]:
    """A batch of black images as the loader would give it.

    Args:
        recipe, data: of the run.
        distiller, train: of the fit.
        size: pixels per side that the network sees.
        cached: names of the teachers whose logits the batches will bring.
    """
    n, classes = train.batch_size, len(data.classes)
    index = np.arange(n) % max(data.images, 1)
    x: dict[str, Any] = {"image": keras.ops.zeros((n, size, size, 3)), "index": index}
    sizes = {name: data.teacher_sizes[name] for name in distiller.teachers.asked(cached)}
    if own := {name: keras.ops.zeros((n, its, its, 3)) for name, its in sizes.items() if its != size}:
        x["teacher_image"] = own
    if cached:
        x["teacher"] = {name: keras.ops.zeros((n, classes), "float16") for name in cached}
    labels: Any = np.zeros(n, np.int64)
    if mixes(recipe):
        labels = np.eye(classes, dtype=np.float32)[labels]
    if distiller.terms and data.unlabelled and n > 1:
        labels[n // 2 :] = 0 if mixes(recipe) else NO_LABEL
    batch: tuple[Any, ...] = (x, labels) if data.train.labelled or distiller.label_weight else (x,)
    weighted = train.class_weight or any(one.weighted for one in (data.train, *data.unlabelled))
    return (*batch, *[None] * (2 - len(batch)), np.ones(n, np.float32)) if weighted else batch


def rehearse(
    distiller: Distiller,
    train: TrainTable,
    batch: tuple[Any, ...],
    jit: Decision = EAGER,
    places: Sequence[str] = (),
) -> tuple[float, float]:
    """Two steps of a throw-away distiller on one batch.

    Args:
        distiller, train: as for `fit`.
        batch: from `black_batch`.
        jit: whether the network's step goes through `torch.compile`.
        places: of its terms in the recipe, for messages.

    Returns:
        Seconds of the first step, which holds the compilation, and of the second.

    Raises:
        RunError: what a first step would have raised, such as features whose shapes do not fit.
    """
    times = []
    try:
        # A dry run compiles nothing, and tells what can't be compiled.
        if train.compile is True and not jit.use:
            prepare_steps(distiller, train, 10, jit_compile=True)
        prepare_steps(distiller, train, 10, jit.use)
        for _ in range(2):
            started = time.monotonic()
            distiller.train_step(batch)
            synchronize()
            times.append(time.monotonic() - started)
    except KDRecipesError:
        raise
    except Exception as error:  # a plugin's term or layer may raise anything
        place = place_in(error, places)
        text = f"{place}: a" if place else "A"
        raise RunError(f"{text} first training step on black images failed: {one_line(error)}") from error
    return times[0], times[1]


def rehearse_inference(logits_of: Callable[[Any], Any], images: int, size: int, label: str = "teacher") -> float:
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
        raise RunError(f"The {label} failed on black images: {one_line(error)}") from error
    return time.monotonic() - started


def refuse_precision(recipe: Recipe, device: str) -> None:
    """Refuse float16 where there is no GPU: the kernels are slow or missing there; and a global policy of Keras.

    Raises:
        RunError: naming the key.
        EnvironmentProblem: Keras is set to another precision than the recipe's.
    """
    check_policy()
    tables: dict[str, TrainTable | TeacherTable] = {"train": recipe.train}
    for table in recipe.teachers.values():
        tables |= {table.place: table} | ({f"{table.place}.train": table.train} if table.train else {})
    for key, one in tables.items():
        if one.precision == "float16" and not device.startswith("cuda"):
            raise RunError(f'{key}.precision = "float16" needs a CUDA GPU; this run is on {device}. Use "bfloat16".')


def _refuse_unsaveable(student: keras.Model, build: Callable[[], keras.Model]) -> None:
    """Save and reload a student before it is trained: a layer that can't be loaded again would lose the training."""
    with passing_folder() as folder:
        path = (folder / "student").with_suffix(students.ending_of(student))
        try:
            with disk_errors(path):
                students.save(student, path)
            students.load(path, build)
        except EnvironmentProblem:  # a full disk says nothing of the student
            raise
        except Exception as error:
            if any(isinstance(layer, keras.layers.Lambda) for layer in flat_layers(student)):
                raise RunError(
                    f"student: {student.name!r} has a Lambda layer, which no file can hold safely. Write a class of "
                    "keras.layers.Layer in its place, registered with keras.saving.register_keras_serializable."
                ) from error
            raise RunError(
                f"student: {student.name!r} can't be saved and loaded again as a {path.suffix} file "
                f"({one_line(error)[:300]})."
                + (
                    " Register custom layers with keras.saving.register_keras_serializable, and give them a get_config."
                    if path.suffix == ".keras"
                    else ""
                )
            ) from error
