"""Saved students: `.keras` files; of torch modules, which Keras won't load safely, `.safetensors` of their state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdrecipes.backend import keras
from kdrecipes.torch_modules import module_of


def ending_of(model: keras.Model) -> str:
    """The ending of the file that a model is saved in: ".keras" or ".safetensors"."""
    return ".keras" if module_of(model) is None else ".safetensors"


def save(model: keras.Model, path: Path) -> None:
    """Write a model to a new file with the ending that is its own."""
    module = module_of(model)
    if module is None:
        model.save(path)
    else:
        from safetensors.torch import save_model

        save_model(module, str(path))


def load(path: Path, build: Callable[[], keras.Model]) -> keras.Model:
    """The model that a file holds.

    Args:
        path: from `save`.
        build: builds the model anew, for a `.safetensors` file, which holds weights alone.

    Raises:
        ValueError: when what is built is no torch module.
    """
    if path.suffix == ".keras":
        return keras.models.load_model(path, compile=False, safe_mode=True)
    from safetensors.torch import load_model

    model = build()
    module = module_of(model)
    if module is None:
        raise ValueError(f"{path.name} holds a torch module's weights, and the recipe builds a Keras model")
    load_model(module, str(path), strict=True)
    return model
