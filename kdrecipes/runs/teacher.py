"""The teacher: built, fine-tuned once and kept under its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.backend import keras, seed_everything
from kdrecipes.data.examples import ViewSettings
from kdrecipes.data.prepare import Data
from kdrecipes.disk.cache import note_served
from kdrecipes.disk.files import locked, remove_unfinished
from kdrecipes.disk.home import kept_at
from kdrecipes.hashing import digest, path_sha256
from kdrecipes.recipe.tables import Recipe, TeacherTable
from kdrecipes.runs.build import build_model, build_tuner
from kdrecipes.runs.class_order import given_order
from kdrecipes.runs.decisions import EAGER, Decision
from kdrecipes.runs.inherited import changed_by_inheritance, keep_training
from kdrecipes.runs.joined_outputs import JoinedOutputs
from kdrecipes.runs.teacher_outputs import split_content
from kdrecipes.torch_modules import variables_of
from kdrecipes.training import state as state_files
from kdrecipes.training.fit import fit
from kdrecipes.training.keeper import Row, as_saved, assign

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
        outputs: its logits on all that the students will be shown; None where they ask it at every step.
        outputs_seconds: spent computing these; None where there are none.
        asked: by the students "once" for all logits, at all "steps", "both" or "never"; empty until that is known.
    """

    model: keras.Model
    fingerprint: str
    rows: list[Row] = field(default_factory=list)
    reused: bool = False
    warnings: list[str] = field(default_factory=list)
    outputs: JoinedOutputs | None = None
    outputs_seconds: float | None = None
    asked: str = ""

    @property
    def seconds(self) -> float:
        """Seconds of fine-tuning."""
        return sum(row["seconds"] for row in self.rows)


def prepare_teacher(
    recipe: Recipe,
    table: TeacherTable,
    data: Data,
    watch: Callable[[int, int], Any] | None = None,
    note: Callable[[str], None] = print,
    *,
    jit: Decision = EAGER,
    begins: Callable[[], None] = lambda: None,
) -> Teacher:
    """Build a teacher of the recipe; fine-tune it, or take an earlier run's weights of the same fingerprint.

    Args:
        recipe: of the run.
        table: the teacher's.
        data: the prepared splits.
        watch: as for `training.fit.fit`.
        note: takes one line for the user.
        jit: whether its training steps go through `torch.compile`.
        begins: is called before it is fine-tuned.

    Raises:
        RunError: when the teacher can't be built or its loss is not finite.
        EnvironmentProblem: when others can write the weights that an earlier run left.
    """
    seed_everything(table.seed)
    model, train = build_model(recipe, table, data), table.train
    if train is None:
        return Teacher(model, weights_fingerprint(model))
    label = recipe.label_of(table)
    before, after = _depends_on(recipe, table, data)
    folder = kept_at("teachers", f"{table.name}-{digest(*before, train.data, *after)[:20]}")

    def waiting() -> None:
        note(f"another run is fine-tuning this teacher in {folder}; waiting for it")

    with locked(folder / ".lock", waiting=waiting):
        remove_unfinished(folder)
        note_served(folder, recipe.name)
        state = state_files.StateFolder(folder / "state")
        if (found := state_files.load(folder / "weights")) is not None:
            with suppress(OSError):  # of a run that was killed between these two; it is in nobody's way
                state.clear()
            with as_saved(folder / "weights"):
                assign(variables_of(model), found[0])
                rows = list(found[1]["rows"])
            note(f"{label}: fine-tuned by an earlier run, {folder}")
            return Teacher(model, weights_fingerprint(model), rows, reused=True)
        if (folder / "weights").exists():
            note(f"Warning: {folder / 'weights'} is damaged; this teacher is fine-tuned again")
        if keys := changed_by_inheritance(recipe, table, train, folder, digest(*before, *after)):
            note(
                f"{label}: fine-tuned anew, although one like it is there: it takes over {' and '.join(keys)}. What is "
                f"written under {table.place}.train is not taken over."
            )
        keep_training(folder, train, digest(*before, *after))
        begins()
        rows = fit(
            build_tuner(recipe, table, model),
            data,
            train,
            size=data.size(table),
            label=label,
            order_seed=table.seed,
            settings=view_settings(recipe),
            state=state,
            jit_compile=jit.use,
            every_epoch=False,  # on few labels it would take longer than the training
            watch=watch,
            tell=note,
        )
        arrays = [keras.ops.convert_to_numpy(v.value) for v in variables_of(model)]
        state_files.save(folder / "weights", arrays, {"rows": rows})
        state.clear()
    return Teacher(model, weights_fingerprint(model), rows)


def view_settings(recipe: Recipe) -> ViewSettings:
    """The views, seeded by the recipe's own seed."""
    return ViewSettings(recipe.dataset.views, recipe.seed)


def weights_fingerprint(model: keras.Model) -> str:
    """sha256 (hex) of all of a model's variables, and a torch module's buffers, in order."""
    content = hashlib.sha256()
    for variable in variables_of(model):
        content.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    return content.hexdigest()


def _depends_on(recipe: Recipe, table: TeacherTable, data: Data) -> tuple[list[Any], list[Any]]:
    """What the fine-tuned weights depend on beside the training itself, which stands between these in the key."""
    views = recipe.dataset.views
    return [TEACHER_VERSION, *component_facts(recipe, table, data)], [
        # The recipe's seed draws the views, where there are any.
        table.seed if views is None or table.seed == recipe.seed else [table.seed, recipe.seed],
        views.data if views else {},
        len(data.classes),
        data.size(table),
        split_content(data.train),
        split_content(data.validation),
    ]


def component_facts(recipe: Recipe, table: TeacherTable, data: Data) -> list[Any]:
    """What a teacher is built from: name, provider, version, options, sha256 of the files and folders they name.

    The order of its outputs follows where it is not the dataset's.
    """
    provider, options = recipe.provider(table), recipe.options(table)
    files = {k: path_sha256(Path(v)) for k, v in options.items() if isinstance(v, str) and Path(v).exists()}
    order = given_order(table, data.classes)
    return [table.name, provider.distribution, provider.version, options, files, *([] if order is None else [order])]
