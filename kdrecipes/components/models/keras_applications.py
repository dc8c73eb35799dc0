"""`keras_applications`: any classifier of `keras.applications`, from pixels to logits, with its own preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models.imagenet import BATCH_NORM_MOMENTUM, WEIGHTS_OPTION, give_weights
from kdrecipes.components.models.keras_source import classifier, families
from kdrecipes.components.options import options
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.extras import need
from kdrecipes.wording import nearest_names

if TYPE_CHECKING:
    import keras


def build(
    classes: int,
    image_size: int,
    model: str,
    weights: str = "none",
    dropout: float | None = None,
    alpha: float | None = None,
) -> keras.Model:
    """A classifier of `keras.applications` whose last layer is as wide as the data have classes, with logits.

    Batch normalisation keeps 0.9 of its moving statistics each step, so that they suit a training of a few epochs too.

    Args:
        classes: width of the logits.
        image_size: pixels per side, at least what the family asks for.
        model: what Keras calls it, "ConvNeXtTiny".
        weights: "none", "imagenet" (a download), or a .weights.h5 file of this same model.
        dropout: share of features dropped before the last layer, [0, 1); None: Keras' default.
        alpha: the width of a MobileNet, greater than 0; None: 1.

    Returns:
        A model from RGB pixels, float (batch, image_size, image_size, 3) in 0–255, to logits (batch, classes).

    Raises:
        EnvironmentProblem: Keras has no such classifier, or it lacks an option, or its weights can't be had.
    """
    import keras

    if found := list(problems(image_size=image_size, model=model, weights=weights, dropout=dropout, alpha=alpha)):
        raise EnvironmentProblem(" ".join(f"{option} {rule}." for option, rule, _ in found))
    known, function = classifier(model), getattr(keras.applications, model)
    own: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    if known.dropout and dropout is not None:
        own[known.dropout] = dropout
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    stock = function(
        input_tensor=_preprocessed(pixels, known.family),
        input_shape=(image_size, image_size, 3),
        weights=None,
        classes=classes,
        classifier_activation=None,
        **own,
    )
    network = keras.Model(pixels, stock.outputs[0], name=stock.name)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
        if layer.name == "top_dropout" and dropout is not None:  # EfficientNet's functions take no rate
            layer.rate = dropout
    give_weights(network, weights, model, lambda: function(weights="imagenet", classifier_activation=None, **own))
    return network


def _preprocessed(pixels: Any, family: str) -> Any:
    """Symbolic pixels as the family's own `preprocess_input` would have them, by layers and operations of Keras alone.

    What that function does is measured: a scale and an offset for each channel, perhaps with the channels turned.
    """
    import keras
    import numpy as np

    function = getattr(keras.applications, family).preprocess_input
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3), [[37.0, 101.0, 223.0]]])
    seen = np.array(function(colours[:, None, None].copy()), np.float64)[:, 0, 0]  # (5 colours, 3 channels)
    offset, matrix = seen[0], (seen[1:4] - seen[0]) / 255
    order = np.abs(matrix).argmax(0).tolist()
    scale = matrix[order, range(3)]
    told = np.allclose(scale * colours[:, order] + offset, seen, rtol=1e-6, atol=1e-6)
    if not told or order not in ([0, 1, 2], [2, 1, 0]):
        raise EnvironmentProblem(f"What keras.applications.{family}.preprocess_input does is not known here.")
    x = pixels if order == [0, 1, 2] else keras.ops.flip(pixels, axis=-1)
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return x
    return keras.layers.Rescaling(_short(scale), _short(offset), name="preprocessing")(x)


def _short(values: Any) -> list[float]:
    """Numbers without what rounding left in their last digits."""
    return [float(f"{value:.9g}") for value in values]


def names() -> dict[str, list[str]]:
    """The classifiers that the installed Keras builds on torch.

    Raises:
        MissingPart: Keras is not installed.
    """
    need("keras_applications", ["keras"], "run")
    return {"model": [name for name in families() if classifier(name).on_torch]}


def problems(
    *, image_size: int | None, model: str, weights: str, dropout: float | None = None, alpha: float | None = None
) -> Iterator[tuple[str, str, str]]:
    """What of the options the classifier can't be built with; nothing where Keras is not installed.

    Yields:
        The option, what is wrong with it, and what was probably meant, or "".
    """
    if not families():
        return
    if model not in families():
        near = nearest_names(model, families())
        listed = f" (nearest: {', '.join(near)})" if near else "; `kdrecipes list models --search NAME` finds one"
        yield "model", f"must be a classifier of keras.applications{listed}", near[0] if near else ""
        return
    known = classifier(model)
    if not known.on_torch:
        yield "model", "can't be built on torch by this Keras", ""
    has = " and ".join((*known.options, "weights"))
    for option, value in (("dropout", dropout), ("alpha", alpha)):
        if value is not None and option not in known.options:
            yield option, f"is no option of {model}, which has {has}", ""
    if alpha is not None and known.alphas and weights == "imagenet" and alpha not in known.alphas:
        listed = ", ".join(f"{one:g}" for one in known.alphas)
        yield "alpha", f'must be one of {listed} for {model} with weights = "imagenet"', ""
    if image_size is not None and image_size < known.least_size:
        yield "image_size", f"must be at least {known.least_size} for {model}", ""
    elif image_size is not None and weights == "imagenet" and known.fixed_size not in (None, image_size):
        rule = f'must be {known.fixed_size} for {model} with weights = "imagenet", whose dense layers are for that size'
        yield "image_size", rule, str(known.fixed_size)


build.names = names  # type: ignore[attr-defined]
build.problems = problems  # type: ignore[attr-defined]


COMPONENT = Component(
    kind="model",
    name="keras_applications",
    build=build,
    summary="any classifier of keras.applications, by its name in Keras, with its own preprocessing",
    options=options(
        "model",
        build,
        image_size={"minimum": 32},
        model={
            "pattern": r"^[A-Za-z0-9_]+(?![\s\S])",
            "x-rule": 'must be a name in keras.applications, such as "ConvNeXtTiny"',
            "examples": ["MobileNetV2", "ConvNeXtTiny"],
            "description": "What Keras calls it, such as ConvNeXtTiny; `kdrecipes list models --search` finds names.",
        },
        weights=WEIGHTS_OPTION,
        dropout={
            "minimum": 0,
            "exclusiveMaximum": 1,
            "examples": [0.2],
            "description": "Share of features dropped before the last layer, of MobileNets and EfficientNets; absent: "
            "Keras' default.",
        },
        alpha={
            "minimum": 0.05,
            "examples": [0.5],
            "description": "Width of a MobileNet, 1 being the published one; absent: 1.",
        },
    ),
)
