"""`graph_call`: a Functional model's `call` without a Keras call for a layer that torch computes by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.fast.layout import Native
from kdrecipes.fast.plan import Plan, run_plan
from kdrecipes.fast.planner import make_plan
from kdrecipes.keras_private import MASK, Functional, in_stateless_scope, standardizer_of


def graph_call(model: Functional, natives: Mapping[Any, Native], is_own: Callable[[Any], bool]) -> Callable[..., Any]:
    """What computes a Functional model, in place of its `call`.

    Args:
        model: one for which `is_graph` holds.
        natives: the native computation of each layer that has one.
        is_own: whether a layer's call is still the one that `accelerate` gave it. Another's, such as one that records
            the layer's output, is called as Keras calls it, and so is a layer with torch hooks.
    """
    stock, standardize = model.call, standardizer_of(model)
    mine = [layer for layer in model.operations if layer in natives]
    plans: dict[frozenset[int], Plan] = {}
    single = len(model.inputs) == 1 and len(model.outputs) == 1
    rank, dtype = len(model.inputs[0].shape), getattr(torch, model.inputs[0].dtype, None)

    def call(inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        plain = isinstance(inputs, torch.Tensor)
        if mask is not None or kwargs or in_stateless_scope() or (plain and inputs.is_meta):
            return stock(inputs, training=training, mask=mask, **kwargs)
        if plain and single and inputs.ndim == rank and inputs.dtype == dtype and not hasattr(inputs, MASK):
            values = [inputs]
        else:
            values = standardize(inputs)
            if any(value is None or value.is_meta or hasattr(value, MASK) for value in values):
                return stock(inputs, training=training)
        others = frozenset(id(layer) for layer in mine if not is_own(layer))
        if others not in plans:
            plans[others] = make_plan(model, {layer: natives[layer] for layer in mine if id(layer) not in others})
        outputs = run_plan(plans[others], values, training)
        return outputs[0] if single else keras.tree.pack_sequence_as(model.output, outputs)

    return call
