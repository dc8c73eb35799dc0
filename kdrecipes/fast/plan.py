"""`Plan`: a Functional model's graph as a flat list of steps; which models have one, and how it runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from kdrecipes.backend import keras
from kdrecipes.fast.layout import Function
from kdrecipes.keras_private import MASK, Functional, nodes_of


class Step(NamedTuple):
    """One computation.

    Attributes:
        function: from one value, or a list of several, and `training`, to the result.
        inputs: the slot it reads, or a list of slots.
        output: the slot it fills, or a list of slots.
        drops: slots that nothing reads after it.
    """

    function: Function
    inputs: int | list[int]
    output: int | list[int]
    drops: tuple[int, ...]


class Plan(NamedTuple):
    """Steps in order, how many slots they use, and the slots of the model's outputs."""

    steps: list[Step]
    slots: int
    outputs: list[int]


def is_graph(model: Any) -> bool:
    """Whether `graph_call` can stand in for a model's `call`: Functional, with Keras' own `call`, no masks."""
    return (
        isinstance(model, Functional)
        and type(model).call is Functional.call
        and not any(getattr(t, MASK, None) is not None for node in nodes_of(model) for t in node.outputs)
    )


def has_one_input_and_output(model: Any) -> bool:
    """Whether a model is such a graph from one tensor to one tensor."""
    return is_graph(model) and len(model.inputs) == len(model.outputs) == 1


def run_plan(plan: Plan, inputs: list[Any], training: bool | None) -> list[Any]:
    """The model's outputs, flat."""
    values: list[Any] = [*inputs, *[None] * (plan.slots - len(inputs))]
    for function, source, target, drops in plan.steps:
        given = values[source] if isinstance(source, int) else [values[slot] for slot in source]
        result = function(given, training)
        if isinstance(target, int):
            values[target] = result
        else:
            for slot, value in zip(target, keras.tree.flatten(result), strict=True):
                values[slot] = value
        for slot in drops:
            values[slot] = None
    return [values[slot] for slot in plan.outputs]
