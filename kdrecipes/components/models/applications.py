"""MobileNetV3 and EfficientNet from `keras.applications`, with their pixel preprocessing and logits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models.weights import load_keras_weights
from kdrecipes.components.options import options
from kdrecipes.errors import EnvironmentProblem

if TYPE_CHECKING:
    import keras

# Keras' MobileNetV3 keeps 0.999 of its moving statistics each step: after 2,000 steps an eighth of the initial values
# would still be there, and test figures would be those of a network that nobody trained. 0.9 forgets in 50 steps.
_BATCH_NORM_MOMENTUM = 0.9

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
            layer.momentum = _BATCH_NORM_MOMENTUM
        if layer.name == "top_dropout":  # EfficientNet's, which its builder takes no rate for
            layer.rate = dropout
    if weights == "imagenet":
        _transfer(_fetch_imagenet(architecture), model)
    elif weights != "none":
        load_keras_weights(model, Path(weights))
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


def _transfer(source: keras.Model, model: keras.Model) -> None:
    """Copy all weights of the 1000-class ImageNet network; a head for other classes keeps its own."""
    import keras
    import numpy as np

    pairs = list(zip(*([la for la in m.layers if la.weights] for m in (source, model)), strict=True))
    if source.output_shape != model.output_shape:
        del pairs[-1]
    for theirs, mine in pairs:
        mine.set_weights(theirs.get_weights())
        if isinstance(theirs, keras.layers.Normalization):
            # Keras' ImageNet EfficientNet divides by √std twice, in two layers; here one layer divides by std.
            after = source.layers[source.layers.index(theirs) + 1]
            mean, variance, count = theirs.get_weights()
            mine.set_weights([mean, variance / np.square(after.scale), count])
            mine.finalize_state()


def _fetch_imagenet(architecture: str) -> keras.Model:
    """The 1000-class network; a download that fails becomes one message instead of a traceback."""
    try:
        return _stock(architecture, 1000, _IMAGENET_SIZE.get(architecture, 224), "imagenet", 0.2)
    except Exception as error:
        text = " ".join(str(error).split())
        if not isinstance(error, OSError) and "URL fetch failure" not in text and "corrupted file" not in text:
            raise
        url = re.search(r"https?://\S+(?=:)", text)
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras"), "models")
        raise EnvironmentProblem(
            f"The ImageNet weights of {architecture} could not be downloaded ({text}). "
            f"Fetch {url[0] if url else 'them'} on a machine that can and put the file into {folder}, "
            'or use weights = "none".'
        ) from error


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
            weights={
                "anyOf": [{"enum": ["none", "imagenet"]}, {"type": "string", "minLength": 1, "format": "path"}],
                "examples": ["none", "imagenet", "../weights/mine.weights.h5"],
                "x-rule": 'must be "none", "imagenet" or a .weights.h5 file',
                "description": '"none", "imagenet" (a download), or a .weights.h5 file of this same model.',
            },
            dropout={
                "minimum": 0,
                "exclusiveMaximum": 1,
                "description": "Share of features dropped before the last layer.",
            },
        ),
    )


COMPONENTS = [_component(name, architecture, summary) for name, (architecture, summary) in _ARCHITECTURES.items()]
