"""Whether a built model takes a run's pixels and gives its logits; what is said is for who wrote the recipe."""

from __future__ import annotations

from typing import Any

from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import Recipe, StudentTable, TeacherTable
from kdrecipes.training.last_activation import (
    EndsInProbabilities,
    refuse_computed_probabilities,
    refuse_probabilities,
)

_IMAGES = "a run gives every network RGB pixels, (batch, height, width, 3)"


def check_network(
    recipe: Recipe, table: TeacherTable | StudentTable, model: keras.Model, classes: int, size: int
) -> None:
    """Refuse a model that does not go from pixels to logits.

    Args:
        recipe, table: of the run; the table names the model.
        model: what was built.
        classes: how many the dataset has.
        size: pixels per side that it sees.

    Raises:
        RunError: naming the table and what to do.
    """
    role = "teacher" if isinstance(table, TeacherTable) else "student"
    problem = _input_problem(model) or _output_problem(model, classes)
    if not problem and model.output_shape[1] != classes:
        problem = (
            f"has {model.output_shape[1]} outputs and the dataset {classes} classes. Nothing was trained. "
            f"{_another_width(recipe, table, model.output_shape[1], classes)}"
        )
    if problem:
        raise RunError(f"{table.place}: {table.name!r} {problem}")
    try:
        refuse_probabilities(model, role)
        refuse_computed_probabilities(model, role, size)
    except EndsInProbabilities as error:
        more = f" Or: {_new_head(table, classes)}" if _takes_head(recipe, table) else ""
        raise RunError(f"{table.place}: {error}{more}") from error


def _input_problem(model: keras.Model) -> str:
    """Why a model can't be shown a run's images; empty where it can, or does not tell."""
    shape = getattr(model, "input_shape", None)
    if shape is None:
        return ""
    if not isinstance(shape, tuple):
        return f"takes several inputs, {shape}; {_IMAGES}, and nothing else."
    if len(shape) != 4:
        return f"takes {shape}; {_IMAGES}. Put the layers that make its input of images in front of it."
    if shape[3] in (3, None):
        return ""
    if shape[1] == 3:
        return f"takes channels first, {shape}; {_IMAGES}. Put keras.layers.Permute((3, 1, 2)) in front of it."
    return f"takes images of {shape[3]} channels, {shape}; {_IMAGES}."


def _output_problem(model: keras.Model, classes: int) -> str:
    """Why a model's output is no logits; empty where it can be."""
    shape = getattr(model, "output_shape", None)
    if isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int):
        return ""
    if shape is None and not getattr(model, "built", True):
        return "is not built: begin it with keras.Input((image_size, image_size, 3))."
    return (
        f"has no one output of shape (batch, {classes}), but {shape}; a network of a run gives logits and nothing "
        "else. Build or save it with that output alone: keras.Model(model.input, logits)."
    )


def _another_width(recipe: Recipe, table: TeacherTable | StudentTable, width: int, classes: int) -> str:
    """What to do about a model that knows another number of classes."""
    head = f"Put a new head on it: {_new_head(table, classes)}" if _takes_head(recipe, table) else ""
    if width == 1 and classes == 2:
        advice = (
            "Two classes take two logits: in place of the one logit z of a sigmoid save a model that gives "
            "keras.ops.concatenate([0 * z, z], -1), which says the same."
        )
        return f"{advice} {head}".strip()
    if head:
        return head
    if "classes" in _declared(recipe, table):
        provider = recipe.provider(table).distribution
        return (
            f"Choose another model, or tell who provides it ({provider}): a model component makes its head as wide as "
            "the `classes` it is passed."
        )
    return (
        "Choose another model, or other data. Its component does not declare the option `classes`, which would tell it "
        "how wide its head has to be."
    )


def _new_head(table: TeacherTable | StudentTable, classes: int) -> str:
    trained = isinstance(table, StudentTable) or table.train is not None
    then = "" if trained else f", and train it: [{table.place}.train]"
    return f'head = "new" in its table replaces its last layer by one of {classes} outputs{then}.'


def _takes_head(recipe: Recipe, table: TeacherTable | StudentTable) -> bool:
    """Whether the model's component can put a new head on what it builds."""
    return "new" in _declared(recipe, table).get("head", {}).get("enum", ())


def _declared(recipe: Recipe, table: TeacherTable | StudentTable) -> dict[str, Any]:
    """The options that the model's component declares."""
    found: dict[str, Any] = recipe.registry.components["model", table.name][0].options.get("properties", {})
    return found
