"""Whether a network ends in probabilities where logits are due, as its last layer says or its first pass shows."""

from __future__ import annotations

import re
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import maker_of, sources_of
from kdrecipes.layers import Reordered

_ACTIVATIONS = ("softmax", "sigmoid")
# What torch calls the steps of a gradient that leave values as they are.
_SAME_STEPS = re.compile(r"(View|UnsafeView|ReshapeAlias|Alias|ToCopy|Clone|Squeeze|Unsqueeze|IndexSelect)Backward\d")
_SAME_VALUES = (Reordered, keras.layers.Identity, keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)


class EndsInProbabilities(ValueError):
    """A network gives probabilities where logits are due.

    Attributes:
        role: what it is in the distillation, such as "teacher".
        activation: "softmax" or "sigmoid".
        layer: the name of the layer that it ends in.
    """

    def __init__(self, role: str, activation: str, layer: str):
        super().__init__(
            f"The {role} ends in a {activation} ({layer!r}); distillation needs logits. Build it with "
            "classifier_activation=None, or without its last activation."
        )
        self.role, self.activation, self.layer = role, activation, layer


def refuse_probabilities(model: Any, role: str) -> None:
    """A softmax, or a sigmoid, where logits are due would be taken for logits and softened again, silently.

    Args:
        model: a `keras.Model` or a `torch.nn.Module`.
        role: what it is in the distillation, for the message.

    Raises:
        EndsInProbabilities: naming the layer that the network ends in.
    """
    last = model
    while (inner := _last_layer(last)) is not None:
        last = inner
    for activation in _ACTIVATIONS:
        used = getattr(last, "activation", None) is getattr(keras.activations, activation)
        if used or type(last).__name__.lower() == activation:  # a layer, an operation or a module of torch
            raise EndsInProbabilities(role, activation, getattr(last, "name", type(last).__name__))


def refuse_computed_probabilities(model: keras.Model, role: str, image_size: int) -> None:
    """The same for a network whose last layer does not tell, such as a torch module with a `forward` of its own.

    It is asked about a black image, and the gradient says what its logits were computed by.

    Args:
        model: from images to logits (batch, classes).
        role: what it is in the distillation, for the message.
        image_size: pixels per side.

    Raises:
        EndsInProbabilities: naming what the network ends in.
    """
    last: Any = model
    while not _subclassed(last) and (inner := _last_layer(last)) is not None:
        last = inner
    known = type(last).__module__.startswith(("keras.", "torch.nn.", "kdrecipes."))
    if known and not _subclassed(last) and not isinstance(last, keras.layers.Lambda):
        return
    pixels = keras.ops.zeros((1, image_size, image_size, 3)).requires_grad_(True)  # all weights may be frozen
    with torch.enable_grad():
        step = getattr(model(pixels, training=False), "grad_fn", None)
    while step is not None and _SAME_STEPS.fullmatch(step.name()) and step.next_functions:
        step = step.next_functions[0][0]
    for activation in _ACTIVATIONS:
        if step is not None and step.name().lower().startswith(f"{activation}backward"):
            raise EndsInProbabilities(role, activation, type(last).__name__)


def _subclassed(model: Any) -> bool:
    """Whether a model computes by a `call` of its own, which may do anything after its last layer."""
    return isinstance(model, keras.Model) and not getattr(model, "outputs", None)


def _last_layer(model: Any) -> Any:
    """What computes the model's output, one level down; None for a plain layer."""
    if isinstance(model, keras.Model):
        outputs = getattr(model, "outputs", None)
        if outputs and (maker := _maker(outputs[0])) is not None:
            return maker
        return model.layers[-1] if model.layers else None
    if isinstance(model, keras.layers.TorchModuleWrapper):
        return model.module
    if isinstance(model, torch.nn.Sequential) and len(model):
        return model[-1]
    return None


def _maker(tensor: Any) -> Any:
    """What computed the values of a symbolic tensor; layers that leave them as they are are passed over."""
    maker = maker_of(tensor)
    while isinstance(maker, _SAME_VALUES) and (sources := sources_of(tensor)):
        tensor = sources[0]
        maker = maker_of(tensor)
    return maker
