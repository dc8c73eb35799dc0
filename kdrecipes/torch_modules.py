"""torch modules as networks of a run: wrapped as Keras models, with their buffers kept beside their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import flat_layers


def as_keras(module: torch.nn.Module, classes: int, image_size: int) -> keras.Model:
    """A Keras model around a torch module.

    Args:
        module: from RGB pixels, float (batch, height, width, 3) in 0–255, to logits (batch, classes).
        classes: width of its logits.
        image_size: pixels per side.

    Returns:
        A model whose variables are the module's parameters. Keras' own file of it would hold a pickle: see `students`.

    Raises:
        ValueError: when the module gives anything else on two black images, or takes channels first.
    """
    wrapper = keras.layers.TorchModuleWrapper(module, output_shape=(None, classes), name="module")
    learning = module.training
    module.eval()
    black = keras.ops.zeros((2, image_size, image_size, 3))
    try:
        with torch.no_grad():
            logits = module(black)
    except Exception as error:  # a stranger's module may raise anything
        if _takes(module, black.permute(0, 3, 1, 2)):
            raise ValueError(
                "it takes channels first, and a run's pixels are channels last, (batch, height, width, 3): begin its "
                "forward with pixels = pixels.permute(0, 3, 1, 2)"
            ) from error
        raise
    finally:
        module.train(learning)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, classes):
        received = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"a torch module gives logits (batch, {classes}). Received: {received} for two images")
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    return keras.Model(pixels, wrapper(pixels), name=type(module).__name__.lower())


def _takes(module: torch.nn.Module, images: torch.Tensor) -> bool:
    try:
        with torch.no_grad():
            module(images)
    except Exception:
        return False
    return True


def module_of(model: keras.Model) -> torch.nn.Module | None:
    """The torch module that a model of `as_keras` is made of; None for any other."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    return layers[0].module if len(layers) == 1 and isinstance(layers[0], keras.layers.TorchModuleWrapper) else None


class Buffer:
    """A torch module's buffer, such as a batch normalisation's statistics, with what of a Keras variable a state needs.

    Attributes:
        value: the tensor.
        shape: its shape.
    """

    def __init__(self, value: torch.Tensor):
        self.value, self.shape = value, tuple(value.shape)

    @torch.no_grad()
    def assign(self, array: np.ndarray) -> None:
        """Give it other values."""
        self.value.copy_(torch.as_tensor(array))


def variables_of(model: keras.Model) -> list[Any]:
    """All that a model's outputs depend on: its variables, and the buffers of torch modules inside it."""
    wrappers = [la for la in flat_layers(model) if isinstance(la, keras.layers.TorchModuleWrapper)]
    buffers = {id(b): b for wrapper in wrappers for b in wrapper.module.buffers()}
    return [*model.variables, *map(Buffer, buffers.values())]
