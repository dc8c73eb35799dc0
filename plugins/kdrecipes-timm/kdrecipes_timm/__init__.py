"""The image classifiers of timm as teachers and students for kdrecipes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kdrecipes
from kdrecipes_timm.names import names

if TYPE_CHECKING:
    import torch

_SHARE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
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
            "type": "string",
            "pattern": r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_.-]+)?(?![\s\S])",
            "x-rule": "must be a name of timm's, with or without a tag, such as resnet26d or resnet26d.gluon_in1k",
            "examples": ["mobilenetv3_small_100", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"],
            "description": "timm's name of the network, e.g. mobilenetv3_small_100; a tag behind a dot says which "
            "weights, and with them which mean and deviation",
        },
        "pretrained": {
            "anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 1, "format": "path"}],
            "x-rule": "must be true, false or a .safetensors file",
            "default": True,
            "examples": [True, False, "./model.safetensors"],
            "description": "true: the published weights (a download); false: random ones, drawn from the run's seed; "
            "or a .safetensors file with this network's arrays",
        },
        "drop_path": {
            **_SHARE,
            "description": "Stochastic depth while training: the share of images that skip the last block; the "
            "blocks before it are skipped less often. Not given: the network's own default",
        },
        "drop_rate": {
            **_SHARE,
            "description": "Share of the features dropped before the classifier while training. Not given: the "
            "network's own default",
        },
    },
}


def build(
    classes: int,
    image_size: int,
    model: str,
    pretrained: bool | str = True,
    drop_path: float | None = None,
    drop_rate: float | None = None,
) -> torch.nn.Module:
    """The network, from raw RGB pixels to logits: see `network.classifier`."""
    from kdrecipes_timm.network import classifier

    return classifier(classes, image_size, model, pretrained, drop_path, drop_rate)


def without_weights(**options: Any) -> dict[str, Any]:
    """The options of the same network with random weights: it takes all its arrays from a file that a run saved.

    A `model.safetensors` is read all the same: the config.json beside it may say how pixels are prepared, and no array
    tells that.
    """
    given = options.get("pretrained", True)
    if isinstance(given, str) and Path(given).name == "model.safetensors":
        return options
    return options | {"pretrained": False}


build.names = names  # type: ignore[attr-defined]
build.without_weights = without_weights  # type: ignore[attr-defined]


@kdrecipes.hookimpl
def kdrecipes_components() -> Iterable[kdrecipes.Component]:
    """The one component of this plugin: the model `timm`."""
    yield kdrecipes.Component(
        kind="model",
        name="timm",
        build=build,
        options=OPTIONS,
        summary="the image classifiers of timm, by name; needs timm",
    )
