"""A network as it is used when it does not learn: in inference mode, at its own input size, for its logits."""

from __future__ import annotations

from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.data.views import resize


class Inference:
    """Calls a network in inference mode and leaves its mode as it found it.

    Args:
        model: a `keras.Model`, or a `torch.nn.Module`, from images (batch, height, width, channels) to logits.
    """

    def __init__(self, model: Any):
        self.model = model
        self._keras = isinstance(model, keras.layers.Layer)
        if self._keras:  # torch modules inside a Keras model keep a mode of their own
            wrappers = [la for la in model._flatten_layers() if isinstance(la, keras.layers.TorchModuleWrapper)]
            self._modules = [module for wrapper in wrappers for module in wrapper.modules()]
        else:
            self._modules = list(model.modules())

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of images (batch, height, width, channels)."""
        learning = [module for module in self._modules if module.training]
        try:
            if self._keras:
                return self.model(image, training=False)
            if learning:
                self.model.eval()
            return self.model(image)
        finally:
            for module in learning:
                module.training = True


def at_input_size(image: torch.Tensor, model: Any) -> torch.Tensor:
    """The images (batch, height, width, channels) at the model's input size, where that is fixed and another."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] is None or shape[1:3] == tuple(image.shape[1:3]):
        return image
    return resize(image.float(), shape[1])


def wide(logits: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def refuse_softmax(model: Any, role: str) -> None:
    """A softmax where logits are due would be softened twice, silently.

    Raises:
        ValueError: naming the softmax that the network ends in.
    """
    last = model
    while (inner := _last_layer(last)) is not None:
        last = inner
    if type(last).__name__ == "Softmax" or getattr(last, "activation", None) is keras.activations.softmax:
        name = getattr(last, "name", type(last).__name__)
        raise ValueError(
            f"The {role} ends in a softmax ({name!r}); distillation needs logits. Build it with "
            "classifier_activation=None, or without its last activation."
        )


def _last_layer(model: Any) -> Any:
    """What computes the model's output, one level down; None for a plain layer."""
    if isinstance(model, keras.Model):
        outputs = getattr(model, "outputs", None)
        if outputs and hasattr(outputs[0], "_keras_history"):
            return outputs[0]._keras_history.operation
        return model.layers[-1] if model.layers else None
    if isinstance(model, torch.nn.Sequential) and len(model):
        return model[-1]
    return None
