"""From the recipe's tables to built components: models checked against the pixel contract, terms, callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from kdrecipes.backend import fresh_names, keras
from kdrecipes.data.prepare import Data
from kdrecipes.errors import KDRecipesError, RunError, one_line
from kdrecipes.fast import accelerate
from kdrecipes.recipe.tables import Recipe
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.inference import EndsInSoftmax, Inference
from kdrecipes.training.projector import Projected
from kdrecipes.training.torch_modules import as_keras


def _build(recipe: Recipe, kind: str, table: Mapping[str, Any], where: str, **passed: Any) -> Any:
    """Call a component's builder; whatever a stranger's code raises names the place in the recipe and the provider."""
    component, provider = recipe.registry.components[kind, table["name"]]
    try:
        return component.build(**recipe.options(table, kind, **passed))
    except KDRecipesError as error:
        error.at(where)
        raise
    except (Exception, SystemExit) as error:
        raise RunError(f"{where}: {table['name']!r} ({provider}) could not be built: {one_line(error)}") from error


def build_model(recipe: Recipe, role: str, data: Data) -> keras.Model:
    """Build the model of `[teacher]` or `[student]`.

    Raises:
        RunError: when it can't be built, or its output is not (batch, classes).
    """
    table = recipe.data[role]
    fresh_names()
    model = _build(recipe, "model", table, role, classes=len(data.classes), image_size=data.size(role))
    if isinstance(model, torch.nn.Module) and not isinstance(model, keras.layers.Layer):
        try:
            model = as_keras(model, len(data.classes), data.size(role))
        except Exception as error:  # a stranger's module may raise anything
            raise RunError(f"{role}: {table['name']!r} built a torch module that fails: {one_line(error)}") from error
    if not isinstance(model, keras.Model):
        raise RunError(
            f"{role}: {table['name']!r} built a {type(model).__name__}; a model component builds a keras.Model or a "
            "torch.nn.Module."
        )
    shape = getattr(model, "output_shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int)):
        raise RunError(
            f"{role}: {table['name']!r} has no one output of shape (batch, {len(data.classes)}), but {shape}; a "
            "network of a run gives logits and nothing else."
        )
    width = shape[1]
    if width != len(data.classes):
        raise RunError(
            f"{role}: {table['name']!r} has {width} outputs and the dataset {len(data.classes)} classes. Nothing was "
            "trained. A model component makes its head as wide as the `classes` it is passed."
        )
    return accelerate(model) if _fast(recipe, role) else model


def _fast(recipe: Recipe, role: str) -> bool:
    return recipe.data[role].get("train", recipe.data["train"])["fast"]


def inference(recipe: Recipe, teacher: keras.Model, *, whole: bool = False) -> Inference:
    """The teacher as the recipe asks it, with the weights that it has now; `whole`: its layers will be read."""
    return Inference(
        teacher, precision=recipe.data["teacher"]["precision"], freeze=_fast(recipe, "teacher") and not whole
    )


def mixes(recipe: Recipe) -> bool:
    """Whether the views mix examples, and with them labels."""
    return bool(recipe.data["dataset"].get("views", {}).get("mixup"))


def build_terms(recipe: Recipe, data: Data) -> tuple[list[Any], list[float]]:
    """The distillation terms of `[loss]` and their weights."""
    loss = recipe.data["loss"]
    if "terms" in loss:
        tables = [(f"loss.terms[{i}]", table) for i, table in enumerate(loss["terms"])]
    else:
        tables = [("loss", loss)] if "name" in loss else []
    terms = []
    for where, table in tables:
        term = _build(recipe, "loss", table, where, classes=len(data.classes), examples=len(data.train))
        for key in ("student_layers", "teacher_layers"):
            if key in table:
                setattr(term, key, tuple(table[key]))
        mine, theirs = (getattr(term, key, ()) for key in ("student_layers", "teacher_layers"))
        if "projector" in table:
            if len(mine) != len(theirs) or not mine:
                raise RunError(
                    f"{where}.projector: pairs layers, and there are {len(mine)} of the student and {len(theirs)} "
                    "of the teacher."
                )
            term = Projected(term)
        if mixes(recipe) and not getattr(term, "mixed_labels", True):
            raise RunError(
                f"{where}: {table['name']!r} can't take the labels of mixed examples. Take dataset.views.mixup out, or "
                "choose another loss."
            )
        terms.append(term)
    return terms, [table["weight"] for _, table in tables]


def build_distiller(
    recipe: Recipe, data: Data, student: keras.Model, teacher: keras.Model | None, *, role: str = "student"
) -> Distiller:
    """The distiller of one fit: of the distilled arm where there is a teacher, else on labels only.

    Args:
        recipe, data: of the run.
        student: the model that is trained.
        teacher: the model that teaches it; None for the baseline and for the teacher's own fine-tuning.
        role: "student", or "teacher" when the teacher itself is fine-tuned, which takes nothing from `[loss]`.

    Raises:
        RunError: when terms and networks do not fit together.
    """
    loss = recipe.data["loss"]
    train = recipe.data["train"] if role == "student" else recipe.data["teacher"]["train"]
    terms, weights = build_terms(recipe, data) if teacher is not None else ([], [])
    try:
        return Distiller(
            student=student,
            teacher=teacher and inference(recipe, teacher, whole=any(getattr(t, "teacher_layers", ()) for t in terms)),
            loss=terms,
            weight=weights,
            label_weight=loss["label_weight"] if terms else 1.0,
            label_smoothing=loss["label_smoothing"] if role == "student" else 0.0,
            precision=train["precision"],
        )
    except ValueError as error:
        softened = isinstance(error, EndsInSoftmax) and error.role == "teacher"
        where = "teacher" if softened else "loss" if terms else role
        raise RunError(f"{where}: {error}") from error


def build_callbacks(recipe: Recipe, **passed: Any) -> list[Any]:
    """The recipe's `[[callbacks]]`, built afresh for one arm."""
    return [
        _build(recipe, "callback", table, f"callbacks[{i}]", **passed)
        for i, table in enumerate(recipe.data.get("callbacks", []))
    ]
