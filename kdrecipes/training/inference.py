"""A network as it is used when it does not learn: in inference mode, at its own input size, for logits or features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.data.views import resize
from kdrecipes.fast import frozen
from kdrecipes.keras_private import flat_layers
from kdrecipes.training.features import tapped


class Inference:
    """Calls a network in inference mode and leaves its mode as it found it.

    Args:
        model: a `keras.Model`, or a `torch.nn.Module`, from images (batch, height, width, channels) to logits.
        precision: what it computes in: "float32", or "bfloat16" or "float16" by `torch.autocast`.
        freeze: take its logits through `fast.frozen`, with the weights that it has now.
    """

    def __init__(self, model: Any, *, precision: str = "float32", freeze: bool = False):
        self.model, self.precision = model, precision
        self._calls: dict[tuple[str, ...], int] = {}
        self._keras = isinstance(model, keras.layers.Layer)
        if self._keras:  # torch modules inside a Keras model keep a mode of their own
            wrappers = [la for la in flat_layers(model) if isinstance(la, keras.layers.TorchModuleWrapper)]
            self._modules = [module for wrapper in wrappers for module in wrapper.modules()]
        else:
            self._modules = list(model.modules())
        self._logits: Callable[[torch.Tensor], torch.Tensor] = self._ask
        if freeze:
            self.freeze()

    @property
    def has_modules(self) -> bool:
        """Whether torch modules with a mode of their own are in it, which a call has to give back."""
        return bool(self._modules)

    def freeze(self) -> None:
        """Take the logits of a Keras model through `fast.frozen`, with the weights that it has now."""
        if self._keras:
            self._logits = frozen(self.model)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of images (batch, height, width, channels)."""
        with autocast(self.precision, image):
            return self._logits(image)

    def _ask(self, image: torch.Tensor) -> torch.Tensor:
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

    def features(self, image: torch.Tensor, layers: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        """What `layers` return, by name, for images (batch, height, width, channels).

        The first pass is whole and counts how often they are called; later ones end with the last of these calls.
        """
        names = tuple(layers)
        with tapped(layers, self._calls.get(names)) as outputs, autocast(self.precision, image):
            self._ask(image)
        self._calls[names] = outputs.calls
        return outputs


def autocast(precision: str, image: torch.Tensor) -> AbstractContextManager[Any]:
    """`torch.autocast` to "bfloat16" or "float16" on the image's device; nothing for "float32"."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(image.device.type, dtype=getattr(torch, precision))


def at_input_size(image: torch.Tensor, model: Any) -> torch.Tensor:
    """The images (batch, height, width, channels) at the model's input size, where that is fixed and another."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] is None or shape[1:3] == tuple(image.shape[1:3]):
        return image
    return resize(image.float(), shape[1])


def wide(logits: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
