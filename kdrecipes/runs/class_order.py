"""The order of a teacher's classes as the recipe gives it, and a teacher's outputs put into the dataset's order."""

from __future__ import annotations

from collections.abc import Sequence

from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.layers import Reordered
from kdrecipes.recipe.structure import show
from kdrecipes.recipe.tables import TeacherTable
from kdrecipes.wording import nearest

_SHOWN = 10  # names in one message


def given_order(table: TeacherTable, classes: Sequence[str]) -> list[int] | None:
    """The place of each of the dataset's classes among a teacher's outputs; None where they stand in its order.

    Args:
        table: the teacher's.
        classes: the dataset's class names.

    Raises:
        RunError: when `class_names` does not name each class once.
    """
    if table.class_names is None:
        return None
    names = list(table.class_names)
    unknown = [name for name in names if name not in classes]
    missing = [name for name in classes if name not in names]
    if unknown or missing:
        parts = [f"not among them: {_shown(unknown, missing)}"] if unknown else []
        parts += [f"missing: {_shown(missing)}"] if missing else []
        raise RunError(
            f"{table.place}.class_names: must name each of the dataset's {len(classes)} classes once, in the order of "
            f"the teacher's outputs; {'; '.join(parts)}."
        )
    order = [names.index(name) for name in classes]
    return None if order == list(range(len(order))) else order


def _shown(names: Sequence[str], choices: Sequence[str] = ()) -> str:
    """The first few names, each with the choice that may have been meant."""
    words = []
    for name in names[:_SHOWN]:
        near = nearest(name, choices)
        words.append(show(name) + (f" (did you mean {show(near)}?)" if near else ""))
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join(words + more)


def reordered(model: keras.Model, order: Sequence[int], size: int) -> keras.Model:
    """A model whose output number i is output number `order[i]` of a model that it shares all layers with.

    Args:
        model: from images to logits (batch, classes).
        order: of its outputs.
        size: pixels per side, where the model does not say what it takes.
    """
    if not getattr(model, "outputs", None):
        pixels = keras.Input((size, size, 3), name="pixels")
        return keras.Model(pixels, Reordered(order, name="class_order")(model(pixels)), name=model.name)
    # The same graph with one layer more: the names of the layers that terms read stay as they are.
    return keras.Model(model.inputs, Reordered(order, name="class_order")(model.outputs[0]), name=model.name)
