"""A recipe tried without its data: the models built, two steps of every kind of fit on black images."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.building import build_model
from kdrecipes.data.prepare import Data, build_source
from kdrecipes.data.splits import parse_split
from kdrecipes.errors import KDRecipesError
from kdrecipes.recipe import Recipe
from kdrecipes.rehearsal import plan_fits, refuse_precision
from kdrecipes.runs import Arm, arms_of
from kdrecipes.teacher import choose_outputs

BATCH = 4  # images: whether layers, shapes and losses fit does not depend on how many


@dataclass(frozen=True)
class _Images:
    """A split of images that nobody looks at."""

    examples: int
    labelled: bool = True

    def __len__(self) -> int:
        return self.examples


def dry_run(recipe: Recipe, *, classes: int | None = None, device: str = "auto") -> dict[str, Any]:
    """Build a recipe's models and take two steps of every fit on black images of the right size, in batches of 4.

    Args:
        recipe: from `load_recipe`.
        classes: how many the dataset has. Default: what the dataset says, from the data where it has no other way.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Returns:
        `classes`, `student_params`, and where there is a teacher `teacher_params`.

    Raises:
        RunError, EnvironmentProblem: what would have stopped the run when it began.
    """
    device = backend.device_name(device)
    refuse_precision(recipe, device)
    data = _data(recipe, classes)
    small = replace(recipe, data=_with_small_batches(recipe))
    cached = "teacher" in recipe.data and choose_outputs(recipe, data)["use"] == "cached"
    kinds = {arm.arm: arm for arm in arms_of(recipe)}
    eager = {role: {"use": False} for role in ("teacher", "student")}
    with keras.device(device):
        plan_fits(small, data, [Arm(kind, 0) for kind in kinds], cached, eager)
        roles = [role for role in ("teacher", "student") if role in recipe.data]
        params = {f"{role}_params": build_model(recipe, role, data).count_params() for role in roles}
    return {"classes": len(data.classes), **params}


def _with_small_batches(recipe: Recipe) -> dict[str, Any]:
    data = copy.deepcopy(dict(recipe.data))
    for train in (data["train"], data.get("teacher", {}).get("train")):
        if train is not None:
            train["batch_size"] = min(BATCH, train["batch_size"])
    return data


def _data(recipe: Recipe, classes: int | None) -> Data:
    """Data of the right sizes without an image in them."""
    table = recipe.data["dataset"]
    count = getattr(recipe.registry.components["dataset", table["name"]][0].build, "classes", None)
    known = classes or (count(**recipe.options(table, "dataset")) if count else None)
    size = table.get("image_size")
    sizes = [recipe.data.get(role, {}).get("image_size", size) for role in ("student", "teacher")]
    if known is None or None in sizes:
        try:
            source = build_source(recipe, parse_split(table["train"])[0], "train")
        except KDRecipesError as error:
            error.args = (f"{error}\nWith --classes N, and dataset.image_size, a dry run does without the data.",)
            raise
        known = known or len(source.classes)
        size = size or table.get("store_size") or source[0]["image"].shape[0]
        sizes = [one or size for one in sizes]
    images: Any = _Images(recipe.data["train"]["batch_size"])  # a run refuses fewer
    names = [str(label) for label in range(known)]
    return Data(images, images, images, names, sizes[0], sizes[1], fingerprint="", converted=0, skipped=[])
