"""MobileNetV3 and EfficientNet from `keras.applications`, with their pixel preprocessing and logits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.errors import EnvironmentProblem
from kdrecipes.hookspecs import Component

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


def _build(architecture: str, classes: int, image_size: int, weights: str, dropout: float) -> keras.Model:
    import keras

    function = getattr(keras.applications, architecture)
    mobile = architecture.startswith("MobileNetV3")
    options: dict[str, Any] = {"include_preprocessing": True, "dropout_rate": dropout} if mobile else {}
    if weights == "imagenet" and classes != 1000:
        model = _imagenet_with_new_head(function, architecture, classes, image_size, dropout, options)
    else:
        if not mobile:
            options["name"] = architecture.lower()
        initial = "imagenet" if weights == "imagenet" else None
        model = _fetch(
            lambda: function(
                input_shape=(image_size, image_size, 3), weights=initial, classes=classes,
                classifier_activation=None, **options,
            ),
            architecture,
        )  # fmt: skip
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _BATCH_NORM_MOMENTUM
        if isinstance(layer, keras.layers.Dropout) and layer.name in ("top_dropout",):
            layer.rate = dropout
    if weights not in ("none", "imagenet"):
        _load_weights(model, Path(weights))
    return model


def _imagenet_with_new_head(
    function: Any, architecture: str, classes: int, image_size: int, dropout: float, options: dict[str, Any]
) -> keras.Model:
    """The 1000-class network with its last layer replaced, so that MobileNetV3 keeps its 1×1 expansion before it."""
    import keras

    whole = _fetch(
        lambda: function(
            input_shape=(image_size, image_size, 3), weights="imagenet", classifier_activation=None, **options
        ),
        architecture,
    )
    if architecture.startswith("MobileNetV3"):
        # … conv_2 → activation → dropout → 1×1 convolution to the classes → flatten
        last = next(i for i, layer in enumerate(whole.layers) if layer.name == "conv_2")
        features = keras.layers.Flatten(name="features")(whole.layers[last + 1].output)
    else:
        features = whole.get_layer("avg_pool").output
    features = keras.layers.Dropout(dropout, name="head_dropout")(features)
    return keras.Model(whole.input, keras.layers.Dense(classes, name="logits")(features), name=architecture.lower())


def _fetch(build: Any, architecture: str) -> keras.Model:
    """Build; a download that fails becomes one message instead of a traceback."""
    try:
        return build()
    except Exception as error:
        if "URL fetch failure" not in str(error):
            raise
        raise EnvironmentProblem(
            f"The ImageNet weights of {architecture} could not be downloaded: {error}. Fetch that file elsewhere and "
            f'place it in ~/.keras/models, or use weights = "none".'
        ) from error


def _load_weights(model: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise EnvironmentProblem(f"weights = {str(path)!r}: no such file.")
    if not path.name.endswith(".weights.h5"):
        raise EnvironmentProblem(f"weights = {str(path)!r}: must be a Keras weights file, named *.weights.h5.")
    try:
        model.load_weights(path)
    except Exception as error:
        text = " ".join(str(error).split())
        raise EnvironmentProblem(f"weights = {str(path)!r}: does not fit {model.name}: {text}") from error


def _component(name: str, architecture: str, summary: str) -> Component:
    def build(classes: int, image_size: int, weights: str = "none", dropout: float = 0.2) -> keras.Model:
        return _build(architecture, classes, image_size, weights, dropout)

    return Component(
        kind="model",
        name=name,
        build=build,
        summary=summary,
        options={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "classes": {"type": "integer"},
                "image_size": {"type": "integer", "minimum": 32},
                "weights": {
                    "anyOf": [{"enum": ["none", "imagenet"]}, {"type": "string", "minLength": 1, "format": "path"}],
                    "default": "none", "x-rule": 'must be "none", "imagenet" or a .weights.h5 file',
                    "description": '"none", "imagenet" (a download), or a .weights.h5 file of this same model.',
                },
                "dropout": {
                    "type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.2,
                    "description": "Share of features dropped before the last layer.",
                },
            },
        },
    )  # fmt: skip


COMPONENTS = [_component(name, architecture, summary) for name, (architecture, summary) in _ARCHITECTURES.items()]
