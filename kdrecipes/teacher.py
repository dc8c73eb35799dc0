"""The teacher: built, fine-tuned once and kept under its fingerprint, checked before any student trains."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes import state as state_files
from kdrecipes.backend import keras, seed_everything
from kdrecipes.building import build_distiller, build_model
from kdrecipes.data.loader import Split, ViewSettings
from kdrecipes.data.prepare import Data
from kdrecipes.errors import RunError
from kdrecipes.evaluation import accuracy, predict
from kdrecipes.home import digest, file_sha256, home, locked
from kdrecipes.recipe import Recipe
from kdrecipes.training import Row, assign, fit

TEACHER_VERSION = 1


@dataclass
class Teacher:
    """A teacher that is ready to teach.

    Attributes:
        model: from images to logits.
        fingerprint: sha256 (hex) of its weights.
        rows: the fine-tuning's epochs; empty where the weights were used as they are.
        reused: whether an earlier run fine-tuned it.
        warnings: failed checks that `preflight = "warn"` let pass.
    """

    model: keras.Model
    fingerprint: str
    rows: list[Row] = field(default_factory=list)
    reused: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds of fine-tuning."""
        return sum(row["seconds"] for row in self.rows)


def prepare_teacher(
    recipe: Recipe, data: Data, watch: Callable[[int, int], Any] | None = None, note: Callable[[str], None] = print
) -> Teacher:
    """Build the recipe's teacher; fine-tune it, or take an earlier run's weights of the same fingerprint.

    Args:
        recipe: with a `[teacher]` table.
        data: the prepared splits.
        watch: as for `training.fit`.
        note: takes one line for the user.

    Raises:
        RunError: when the teacher can't be built or its loss is not finite.
    """
    seed = recipe.data["seed"]
    seed_everything(seed)
    model = build_model(recipe, "teacher", data)
    train = recipe.data["teacher"].get("train")
    if train is None:
        return Teacher(model, weights_fingerprint(model))
    folder = home() / "teachers" / f"{recipe.data['teacher']['name']}-{_fingerprint(recipe, data)[:20]}"

    def waiting() -> None:
        note(f"another run is fine-tuning this teacher in {folder}; waiting for it")

    with locked(folder / ".lock", waiting=waiting):
        if (found := state_files.load(folder / "weights")) is not None:
            assign(model.variables, found[0])
            note(f"teacher: fine-tuned by an earlier run, {folder}")
            return Teacher(model, weights_fingerprint(model), found[1]["rows"], reused=True)
        state = state_files.StateFolder(folder / "state")
        rows = fit(
            build_distiller(recipe, data, model, None, role="teacher"),
            data,
            train,
            label="teacher",
            order_seed=seed,
            settings=view_settings(recipe),
            state=state,
            watch=watch,
        )
        state_files.save(
            folder / "weights", [keras.ops.convert_to_numpy(v.value) for v in model.variables], {"rows": rows}
        )
        state.clear()
    return Teacher(model, weights_fingerprint(model), rows)


def view_settings(recipe: Recipe) -> ViewSettings:
    """The views, seeded by the recipe's own seed."""
    return ViewSettings(recipe.data["dataset"].get("views", {}), recipe.data["seed"])


def weights_fingerprint(model: keras.Model) -> str:
    """sha256 (hex) of all of a model's variables, in order."""
    content = hashlib.sha256()
    for variable in model.variables:
        content.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    return content.hexdigest()


def _fingerprint(recipe: Recipe, data: Data) -> str:
    """What the fine-tuned weights depend on."""
    table = recipe.data["teacher"]
    _, provider = recipe.registry.components["model", table["name"]]
    options = recipe.options(table, "model")
    files = {k: file_sha256(Path(v)) for k, v in options.items() if isinstance(v, str) and Path(v).is_file()}

    def content(split: Split) -> list[str]:
        return [split.store.fingerprint, hashlib.sha256(np.ascontiguousarray(split.positions).tobytes()).hexdigest()]

    return digest(
        TEACHER_VERSION,
        table["name"],
        provider.distribution,
        provider.version,
        options,
        files,
        table["train"],
        recipe.data["seed"],
        recipe.data["dataset"].get("views", {}),
        len(data.classes),
        data.image_size,
        content(data.train),
        content(data.validation),
    )


def preflight(teacher: Teacher, data: Data) -> list[str]:
    """What is wrong with a teacher, judged on the validation split; an empty list when nothing is.

    Checks that its logits are finite and no probabilities, and that its validation accuracy is above chance
    (1 / classes) by two standard errors. That it has a logit for each class was checked when it was built.
    """
    classes, n = len(data.classes), len(data.validation)
    logits = predict(teacher.model, data.validation, data.image_size)
    if not np.isfinite(logits).all():
        return [f"{int((~np.isfinite(logits)).any(1).sum())} of {n} validation images give logits that are not finite"]
    problems = []
    if (logits >= 0).all() and np.allclose(logits.sum(1), 1, atol=1e-3):
        problems.append("its outputs are probabilities, not logits; build it without its softmax")
    reached = accuracy(logits, data.validation.labels)
    chance = 1 / classes
    least = chance + 2 * math.sqrt(chance * (1 - chance) / n)
    if reached < least:
        problems.append(
            f"its validation accuracy is {reached:.1%}, and guessing gives {chance:.1%} (at least {least:.1%} needed "
            f"on {n} images); is its head trained for these classes? [teacher.train] fine-tunes it"
        )
    return problems


def check_teacher(recipe: Recipe, teacher: Teacher, data: Data) -> None:
    """Run the preflight and act as `teacher.preflight` says.

    Raises:
        RunError: when a check fails and the recipe says "stop".
    """
    problems = preflight(teacher, data)
    if problems and recipe.data["teacher"]["preflight"] == "stop":
        raise RunError(
            f"The teacher {recipe.data['teacher']['name']!r} did not pass its preflight: {'; '.join(problems)}. "
            'No student was trained. teacher.preflight = "warn" goes on regardless.'
        )
    teacher.warnings += [f"teacher preflight: {problem}" for problem in problems]
