"""The layers of a recipe's networks that a term can read: their paths, and the shapes of what they give."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kdrecipes.backend import keras
from kdrecipes.errors import UsageError
from kdrecipes.recipe.tables import Recipe, StudentTable, TeacherTable
from kdrecipes.runs.build import build_model
from kdrecipes.runs.dry_run import data_without_images
from kdrecipes.training.features import layer_paths, overheard
from kdrecipes.training.inference import Inference
from kdrecipes.wording import nearest

STUDENT, TEACHER = "student", "teacher"


@dataclass(frozen=True)
class ReadableLayer:
    """A layer that `student_layers` or `teacher_layers` may name.

    Attributes:
        role: "student", "teacher", or of several teachers the id of one.
        name: its path.
        shape: of its output for a batch of images, the batch as None; of maps (None, height, width, channels).
    """

    role: str
    name: str
    shape: tuple[int | None, ...]


def readable_layers(recipe: Recipe, role: str | None = None) -> list[ReadableLayer]:
    """What terms can read, in the order of the networks' layers.

    The networks are built as a run builds them, and asked about one black image on the CPU. Left out are layers that
    a forward pass does not call, those that give no single tensor, and modules of torch that it calls several times.

    Args:
        recipe: from `load_recipe`.
        role: "student"; "teacher" for all teachers; or the id of one. Default: all networks, the student first.

    Raises:
        UsageError: when the recipe has no such network.
        RunError: when a network can't be built.
    """
    networks = _networks(recipe)
    chosen = [(name, table) for name, table in networks if _is_asked(name, table, role)]
    if not chosen:
        known = list(dict.fromkeys([*(name for name, _ in networks), *([TEACHER] if recipe.teachers else [])]))
        near = nearest(role or "", known)
        meant = f"; did you mean {near!r}?" if near else "."
        raise UsageError(f"--role: the recipe has {', '.join(known)}. Received: {role!r}{meant}")
    found = []
    with keras.device("cpu"):
        data = data_without_images(recipe)
        for name, table in chosen:
            shapes = shapes_of(build_model(recipe, table, data), data.size(table))
            found += [ReadableLayer(name, path, shape) for path, shape in shapes.items()]
    return found


def _networks(recipe: Recipe) -> list[tuple[str, StudentTable | TeacherTable]]:
    """The tables of the networks, each with its role."""
    only = len(recipe.teachers) == 1
    teachers = [(TEACHER if only else name, table) for name, table in recipe.teachers.items()]
    return [(STUDENT, recipe.student), *teachers]


def _is_asked(name: str, table: StudentTable | TeacherTable, role: str | None) -> bool:
    return role in (None, name) or (isinstance(table, TeacherTable) and role in (TEACHER, table.id))


def shapes_of(model: keras.Model, size: int) -> dict[str, tuple[int | None, ...]]:
    """The shapes of what a model's layers give, by path, the batch as None.

    Args:
        model: from images to logits.
        size: pixels per side.
    """
    first = {id(layer): path for path, layer in reversed(layer_paths(model).items())}  # one layer, one path
    layers = {path: layer for path, layer in layer_paths(model).items() if first[id(layer)] == path}
    with torch.no_grad(), overheard(layers) as outputs:
        Inference(model)(keras.ops.zeros((1, size, size, 3)))
    return {
        path: (None, *outputs[path].shape[1:])
        for path in layers
        if path in outputs and path not in outputs.refused and outputs[path].ndim > 1
    }
