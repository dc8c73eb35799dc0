"""`frozen`: a model that no longer learns, as one inference function with its normalisation folded in."""

from __future__ import annotations

from collections.abc import Callable

import torch

from kdrecipes.backend import keras
from kdrecipes.fast.native import native
from kdrecipes.fast.plan import has_one_input_and_output, run_plan
from kdrecipes.fast.planner import make_plan
from kdrecipes.keras_private import flat_layers, graph_of, standardizer_of


def frozen(model: keras.Model) -> Callable[[torch.Tensor], torch.Tensor]:
    """A model's inference with the weights that it has now; the model itself is left as it is.

    Batch normalisation after a convolution is folded into a copy of its weights (in float64), activations and sums
    write over what nobody reads any more, values are dropped after their last use. The outputs are the model's to
    rounding. Later changes of its weights may or may not be seen: make it anew after them. A model that is no graph of
    layers (a subclass with a `call` of its own) is called as it is.

    Args:
        model: built, float32, with one input and one output.

    Returns:
        From images, float (batch, height, width, channels), to the model's output. It computes no gradients.
    """
    graph = graph_of(model)
    if not has_one_input_and_output(graph):
        return lambda images: model(images, training=False)
    natives = {layer: made for layer in flat_layers(model) if (made := native(layer)) is not None}
    plan, standardize = make_plan(graph, natives, frozen=True), standardizer_of(graph)

    def infer(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return run_plan(plan, standardize(images), False)[0]

    return infer
