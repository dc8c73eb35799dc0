"""`keras_hub`: KerasHub's image classifiers and backbones, from a preset's name or a preset folder."""

from __future__ import annotations

import ast
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.extras import need
from kdrecipes.wording import nearest

if TYPE_CHECKING:
    import keras

# The published networks train with 0.9 to 0.999, for hundreds of epochs; 0.9 forgets in 50 steps.
_BATCH_NORM_MOMENTUM = 0.9
_INSTALL = "pip install keras-hub (on a machine without TensorFlow: pip install --no-deps keras-hub regex tokenizers)"


def build(classes: int, image_size: int, preset: str, weights: str = "preset") -> keras.Model:
    """A preset's image classifier with the preset's preprocessing inside.

    Everything but the last layer is the preset's: of a MobileNetV3 the 1×1 expansion behind the pooling too. The last
    layer is the preset's where it has as many classes, else a new one.

    Args:
        classes: width of the logits.
        image_size: pixels per side of the input.
        preset: KerasHub's name of it, a handle ("hf://…", "kaggle://…"), or a folder that `save_to_preset` wrote.
        weights: "preset", or "none" for random ones.

    Returns:
        A model from RGB pixels, float (batch, image_size, image_size, 3) in 0–255, to logits (batch, classes).

    Raises:
        EnvironmentProblem: KerasHub is missing, there is no such preset, it can't be downloaded, or it is for images
            of another size.
    """
    import keras

    from kdrecipes.keras_private import flat_layers

    source = _load(preset, weights == "preset", classes)
    classifier = _resized(source, classes, image_size, preset)
    for layer in flat_layers(classifier):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _BATCH_NORM_MOMENTUM
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    converter = getattr(source.preprocessor, "image_converter", None)
    scale, offset = (getattr(converter, name, None) for name in ("scale", "offset"))
    x = pixels
    if scale is not None or offset is not None:
        scale, offset = 1.0 if scale is None else scale, 0.0 if offset is None else offset
        x = keras.layers.Rescaling(scale, offset, name="preprocessing")(pixels)
    return keras.Model(pixels, classifier(x), name="keras_hub")


def _load(preset: str, weights: bool, classes: int) -> Any:
    """The preset's classifier as it was published; a new head where the preset has none."""
    from kdrecipes.backend import without_tensorflow

    without_tensorflow()
    try:
        import keras_hub
    except ImportError as error:
        raise EnvironmentProblem(f"The model keras_hub needs KerasHub ({error}). Install it: {_INSTALL}") from error
    classifiers = keras_hub.models.ImageClassifier
    local = os.path.isdir(preset)
    if not local and "://" not in preset:
        known = sorted({*classifiers.presets, *keras_hub.models.Backbone.presets})
        if preset not in known:
            near = nearest(preset, known)
            raise EnvironmentProblem(
                f"preset = {preset!r}: KerasHub {keras_hub.__version__} has no such preset, and there is no such "
                f"folder.{f' Did you mean {near!r}?' if near else ''}"
            )
    try:
        try:
            return classifiers.from_preset(preset, load_weights=weights)
        except TypeError:  # a preset of a backbone alone has no number of classes
            return classifiers.from_preset(preset, load_weights=weights, num_classes=classes)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        if local:
            raise EnvironmentProblem(
                f"preset = {preset!r}: no folder of an image classifier or its backbone: {text}"
            ) from error
        handle = classifiers.presets.get(preset, {}).get("kaggle_handle", preset)
        raise EnvironmentProblem(
            f"preset = {preset!r} could not be fetched from {handle} ({type(error).__name__}: {text}). On a machine "
            f"with a network run keras_hub.models.ImageClassifier.from_preset({preset!r}).save_to_preset('folder'), "
            'bring the folder here and name it: preset = "./folder".'
        ) from error


def _resized(source: Any, classes: int, image_size: int, preset: str) -> Any:
    """The same classifier for other classes and another image size, without preprocessor, with the same weights."""
    from kdrecipes.keras_private import flat_layers, inner_layers

    backbone = source.backbone
    if tuple(backbone.input_shape[1:3]) not in ((None, None), (image_size, image_size)):
        config = backbone.get_config()
        key = "image_shape" if "image_shape" in config else "input_shape"
        other = type(backbone).from_config({**config, key: (image_size, image_size, 3)})
        if [tuple(v.shape) for v in other.variables] != [tuple(v.shape) for v in backbone.variables]:
            size = backbone.input_shape[1]
            raise EnvironmentProblem(f"preset = {preset!r} is for images of {size} px alone: set image_size = {size}.")
        other.set_weights(backbone.get_weights())
        backbone = other
    options = {key: value for key, value in source.get_config().items() if key not in ("backbone", "preprocessor")}
    options |= {"num_classes": classes} | ({"activation": None} if "activation" in options else {})
    classifier = type(source)(backbone=backbone, preprocessor=None, **options)
    inside = {id(layer) for layer in (*flat_layers(backbone), *flat_layers(source.backbone))}
    mine, theirs = ([la for la in flat_layers(m) if id(la) not in inside] for m in (classifier, source))
    by_name = {layer.name: layer for layer in theirs}
    for layer in mine:
        weights = by_name[layer.name].get_weights() if layer.name in by_name and not inner_layers(layer) else []
        if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(weights)
    return classifier


def names() -> dict[str, list[str]]:
    """The presets of the families that have an image classifier, from KerasHub's source; nothing of it is imported.

    Raises:
        MissingPart: KerasHub is not installed.
    """
    need("keras_hub", ["keras_hub"], "hub")
    spec = importlib.util.find_spec("keras_hub")
    roots = (spec.submodule_search_locations if spec else None) or ()
    found: set[str] = set()
    for classifier in (file for root in roots for file in Path(root, "src/models").glob("*/*_image_classifier.py")):
        for file in classifier.parent.glob("*_presets.py"):
            tables = (node.value for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.Assign))
            keys = (key for table in tables if isinstance(table, ast.Dict) for key in table.keys)
            found |= {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return {"preset": sorted(found)}


build.names = names  # type: ignore[attr-defined]


COMPONENT = Component(
    kind="model",
    name="keras_hub",
    build=build,
    summary="KerasHub's image classifiers and backbones, by preset; needs keras-hub",
    options=options(
        "model",
        build,
        image_size={"minimum": 1},
        preset={
            "anyOf": [
                {"type": "string", "pattern": r"^[A-Za-z0-9_]+(?![\s\S])|^[a-z]+://."},
                {"type": "string", "minLength": 1, "format": "path"},
            ],
            "x-rule": "must be a preset's name, a handle such as hf://…, or a preset folder such as ./folder",
            "examples": ["mobilenet_v3_small_100_imagenet", "./folder"],
            "description": "KerasHub's name of a preset, e.g. mobilenet_v3_small_100_imagenet, a handle, or a "
            'folder that save_to_preset wrote, with a slash: "./folder".',
        },
        weights={
            "enum": ["preset", "none"],
            "description": '"preset": the published weights; "none": random ones.',
        },
    ),
)
