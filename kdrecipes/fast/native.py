"""`native`: torch's own functions for a single Keras layer, where there are any."""

from __future__ import annotations

from typing import Any

from kdrecipes.fast import activations, convolution, normalization, pooling
from kdrecipes.fast.layout import Native
from kdrecipes.keras_private import is_rematerialized

_MAKERS = activations.MAKERS | convolution.MAKERS | normalization.MAKERS | pooling.MAKERS


def native(layer: Any) -> Native | None:
    """The native computation of a layer; None where it is left to Keras.

    Taken are exactly Keras' own classes and StandardizedConv2D (a subclass may compute anything), built, computing in
    float32, channels last, without an activity regulariser, rematerialisation, quantisation or LoRA.
    """
    make = _MAKERS.get(type(layer))
    if (
        make is None
        or not layer.built
        or layer.compute_dtype != "float32"
        or layer.variable_dtype != "float32"
        or getattr(layer, "data_format", "channels_last") != "channels_last"
        or layer.activity_regularizer is not None
        or is_rematerialized(layer)
        or getattr(layer, "quantization_mode", None) is not None
        or getattr(layer, "lora_enabled", False)
    ):
        return None
    return make(layer)
