"""A saved network changed for a run's data: a new last layer, grey pixels where it takes one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdrecipes.errors import EnvironmentProblem

if TYPE_CHECKING:
    import keras

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114  # ITU-R 601, as Pillow's "L"; they sum to 1, so that grey stays as it is


def with_new_head(model: keras.Model, classes: int) -> keras.Model:
    """The same network with a new last layer, `Dense`, that gives logits; all other layers are shared.

    What follows the old last layer, such as a softmax, is gone with it. Features that are still maps or rows are
    averaged first.

    Args:
        model: a graph of layers with one output.
        classes: width of the new logits.

    Raises:
        EnvironmentProblem: which layer is the last with weights can't be told.
    """
    import keras

    outputs = getattr(model, "outputs", None)
    if not outputs:
        raise EnvironmentProblem('head = "new" needs a model that is a graph of layers, Functional or Sequential.')
    x = _features(outputs[0])
    if len(x.shape) > 2:
        pooling = {3: keras.layers.GlobalAveragePooling1D, 4: keras.layers.GlobalAveragePooling2D}
        x = pooling[len(x.shape)](name=_free(model, "new_pooling"))(x)
    return keras.Model(model.inputs, keras.layers.Dense(classes, name=_free(model, "new_head"))(x), name=model.name)


def _features(tensor: Any) -> Any:
    """What the last layer with weights reads, that a symbolic output is computed by."""
    import keras

    from kdrecipes.keras_private import maker_of, sources_of

    operation, sources = maker_of(tensor), sources_of(tensor)
    if isinstance(operation, keras.Model) and operation.outputs and len(sources) == 1:
        return keras.Model(operation.inputs, _features(operation.outputs[0]), name=operation.name)(sources[0])
    if len(sources) != 1:
        raise EnvironmentProblem(
            f'head = "new": {operation.name!r} puts {len(sources)} values together after the last layer with weights; '
            "which layer is the head can't be told. Save the model without its head."
        )
    if not getattr(operation, "weights", ()):
        return _features(sources[0])
    if isinstance(operation, keras.layers.Dense | keras.layers.EinsumDense | keras.layers.Conv1D | keras.layers.Conv2D):
        return sources[0]
    raise EnvironmentProblem(
        f'head = "new": the last layer with weights, {operation.name!r}, is a {type(operation).__name__} and no head. '
        "Save the model without its head."
    )


def _free(model: keras.Model, name: str) -> str:
    """A name that no layer of a model has."""
    taken, count, free = {layer.name for layer in model.layers}, 2, name
    while free in taken:
        free, count = f"{name}_{count}", count + 1
    return free


def with_grey_pixels(model: keras.Model) -> keras.Model:
    """A model that takes images of one channel, shown the grey of RGB pixels; any other model as it is."""
    import keras

    shape = getattr(model, "input_shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 4 and shape[3] == 1):
        return model
    pixels = keras.Input((*shape[1:3], 3), name="pixels")
    grey = _RED * pixels[..., 0:1] + _GREEN * pixels[..., 1:2] + _BLUE * pixels[..., 2:3]
    return keras.Model(pixels, model(grey), name=model.name)
