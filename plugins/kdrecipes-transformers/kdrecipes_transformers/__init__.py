"""Image classifiers of Hugging Face's transformers as teachers and students for kdrecipes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import kdrecipes

if TYPE_CHECKING:
    import torch

OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["classes", "image_size", "model"],
    "properties": {
        "classes": {"type": "integer", "minimum": 1, "description": "Width of the logits; the run passes it"},
        "image_size": {
            "type": "integer",
            "minimum": 1,
            "description": "Height and width of the input in pixels; the run passes it",
        },
        "model": {
            "anyOf": [
                {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)?(?![\s\S])"},
                {"type": "string", "minLength": 1, "format": "path"},
            ],
            "x-rule": "must be a name on the hub, or a folder that begins with ./, ../, ~ or /",
            "examples": ["google/vit-base-patch16-224", "./folder"],
            "description": 'Name on the hub, e.g. google/vit-base-patch16-224, or a folder: "./folder"',
        },
        "revision": {
            "type": "string",
            "minLength": 1,
            "default": "main",
            "description": "Branch, tag or commit on the hub",
        },
    },
}


def build(classes: int, image_size: int, model: str, revision: str = "main") -> torch.nn.Module:
    """The network, from raw RGB pixels to logits: see `model.image_classifier`."""
    from kdrecipes_transformers.model import image_classifier

    return image_classifier(classes, image_size, model, revision)


@kdrecipes.hookimpl
def kdrecipes_components() -> Iterable[kdrecipes.Component]:
    """The one component of this plugin: the model `transformers`."""
    yield kdrecipes.Component(
        kind="model",
        name="transformers",
        build=build,
        options=OPTIONS,
        summary="image classifiers of Hugging Face's transformers",
    )
