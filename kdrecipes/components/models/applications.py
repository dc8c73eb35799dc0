"""MobileNetV3 and EfficientNet from `keras.applications`, with their pixel preprocessing and logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models.imagenet import BATCH_NORM_MOMENTUM, WEIGHTS_OPTION, give_weights
from kdrecipes.components.options import options

if TYPE_CHECKING:
    import keras

_ARCHITECTURES = {
    "mobilenet_v3_small": ("MobileNetV3Small", "MobileNetV3-Small, 1.5 M parameters at 10 classes"),
    "mobilenet_v3_large": ("MobileNetV3Large", "MobileNetV3-Large, 4.2 M parameters at 10 classes"),
    "efficientnet_b0": ("EfficientNetB0", "EfficientNet-B0, 4.1 M parameters at 10 classes"),
    "efficientnet_b3": ("EfficientNetB3", "EfficientNet-B3, 10.7 M parameters at 10 classes"),
}

# Keras loads a whole ImageNet network at its own image size only.
_IMAGENET_SIZE = {"EfficientNetB3": 300}


def _build(architecture: str, classes: int, image_size: int, weights: str, dropout: float) -> keras.Model:
    """One network whatever its first weights, so that a file saved from any of them fits all of them."""
    import keras

    model = _stock(architecture, classes, image_size, None, dropout)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
        if layer.name == "top_dropout":  # EfficientNet's, which its builder takes no rate for
            layer.rate = dropout
    size = _IMAGENET_SIZE.get(architecture, 224)
    give_weights(model, weights, architecture, lambda: _stock(architecture, 1000, size, "imagenet", 0.2))
    return model


def _stock(architecture: str, classes: int, image_size: int, weights: str | None, dropout: float) -> keras.Model:
    """The network as `keras.applications` builds it, with logits."""
    import keras

    options: dict[str, Any] = {"name": architecture.lower()}  # EfficientNet names the file it fetches after it
    if architecture.startswith("MobileNetV3"):
        options |= {"include_preprocessing": True, "dropout_rate": dropout}
    return getattr(keras.applications, architecture)(
        input_shape=(image_size, image_size, 3), weights=weights, classes=classes, classifier_activation=None, **options
    )


def _component(name: str, architecture: str, summary: str) -> Component:
    def build(classes: int, image_size: int, weights: str = "none", dropout: float = 0.2) -> keras.Model:
        return _build(architecture, classes, image_size, weights, dropout)

    return Component(
        kind="model",
        name=name,
        build=build,
        summary=summary,
        options=options(
            "model",
            build,
            image_size={"minimum": 32},
            weights=WEIGHTS_OPTION,
            dropout={
                "minimum": 0,
                "exclusiveMaximum": 1,
                "description": "Share of features dropped before the last layer.",
            },
        ),
    )


COMPONENTS = [_component(name, architecture, summary) for name, (architecture, summary) in _ARCHITECTURES.items()]
