"""What a trained student depends on, as a digest: students of equal digests are one and the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdrecipes.data.prepare import Data, largest_size
from kdrecipes.hashing import digest, path_sha256
from kdrecipes.recipe.resolve import counted
from kdrecipes.recipe.tables import ComponentTable, Recipe
from kdrecipes.runs.arms import Arm
from kdrecipes.runs.build import is_tracker
from kdrecipes.runs.decisions import Decision
from kdrecipes.runs.provenance import versions
from kdrecipes.runs.saved import facts_of
from kdrecipes.runs.teacher import Teacher
from kdrecipes.runs.teacher_outputs import split_content

ARMS_VERSION = 1


def arm_key(recipe: Recipe, arm: Arm) -> str:
    """sha256 (hex) of all of the recipe that an arm depends on: what can be told before anything is prepared.

    A labels-only student depends on nothing of `[loss]` but the smoothing of labels, and on nothing of a teacher but
    the size of its images, where that decides the size of the stored ones.
    """
    dataset = {key: value for key, value in recipe.data["dataset"].items() if key not in ("test", "views")}
    drawn = recipe.seed if recipe.dataset.labelled is not None else None
    stored = recipe.dataset.store_size or largest_size(recipe)
    return digest(
        *_of_recipe(recipe, arm),
        [dataset, drawn, stored, recipe.student.image_size],
        _teachers(recipe) if arm.arm == "kd" else None,
    )


def arm_digest(
    recipe: Recipe,
    arm: Arm,
    data: Data,
    teachers: Mapping[str, Teacher],
    hearing: Mapping[str, Decision],
    jit: Decision,
    anew: Decision,
    device: str,
) -> str:
    """sha256 (hex) of all that a trained arm depends on, data and weights of the teachers included.

    Args:
        recipe, arm, data, teachers: of the run.
        hearing: how each teacher is heard.
        jit: whether the student's steps are compiled.
        anew: from how many batches its batch-norm statistics are estimated.
        device: "cpu", "cuda", …
    """
    taught = arm.arm == "kd"
    saved = {key: value for key, value in asdict(facts_of(recipe, recipe.student, data)).items() if key not in _NOT}
    heard = [[name, teachers[name].fingerprint, hearing[name].use] for name in teachers]
    return digest(
        ARMS_VERSION,
        *_of_recipe(recipe, arm),
        [saved, split_content(data.train), split_content(data.validation)],
        [asdict(data.mixture(recipe, taught=taught)), data.images],
        [_teachers(recipe), heard, [split_content(part) for part in data.unlabelled]] if taught else None,
        [jit.use, anew.use, versions(recipe), device.partition(":")[0]],
    )


_NOT = ("recipe_sha256", "network")  # that of whichever recipe trained it; what the terms make of it


def _of_recipe(recipe: Recipe, arm: Arm) -> list[Any]:
    """What an arm depends on beside its data and teachers."""
    views = recipe.dataset.views
    terms = [built_from(recipe, term) for term in recipe.loss.terms]
    return [
        arm.arm,
        arm.seed,
        built_from(recipe, recipe.student),
        recipe.train.data,
        recipe.loss.label_smoothing,
        [views.data, recipe.seed] if views else None,
        [built_from(recipe, table) for table in recipe.callbacks if not is_tracker(recipe, table)],
        [recipe.data["loss"], terms] if arm.arm == "kd" else None,
    ]


def _teachers(recipe: Recipe) -> list[Any]:
    seeds = [[table.id, table.seed] for table in recipe.teachers.values()]
    return [counted(recipe.data).get("teacher"), seeds, [built_from(recipe, one) for one in recipe.teachers.values()]]


def built_from(recipe: Recipe, table: ComponentTable) -> list[Any]:
    """What a component is: name, provider, version, options, sha256 of the files and folders that these name."""
    provider, options = recipe.provider(table), recipe.options(table)
    files = {k: path_sha256(Path(v)) for k, v in options.items() if isinstance(v, str) and Path(v).exists()}
    return [table.name, provider.distribution, provider.version, options, files]
