"""Layers of our own: a convolution with weight standardisation, and a network's outputs in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdrecipes.backend import keras

EPSILON = 1e-10  # of BiT's published code


@keras.saving.register_keras_serializable(package="kdrecipes")
class StandardizedConv2D(keras.layers.Conv2D):
    """A Conv2D with weight standardisation (arXiv:1903.10520, equation 2; arXiv:1912.11370, section 2).

    Each output channel's filter w becomes (w − mean) / sqrt(variance + 1e-10), both over its height, width and inputs,
    the variance with n as divisor. The variable stays the raw kernel, float32, and so does the standardisation under
    any precision: 1e-10 vanishes in half precision.

    Args:
        *args, **kwargs: those of `keras.layers.Conv2D`.
    """

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        """A variable that no dtype policy casts before it is standardised."""
        return super().add_weight(*args, **kwargs | {"autocast": False})

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution with the standardised kernel."""
        centred = kernel - keras.ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = keras.ops.mean(keras.ops.square(centred), axis=(0, 1, 2), keepdims=True)
        kernel = centred * keras.ops.rsqrt(variance + EPSILON)
        return super().convolution_op(inputs, keras.ops.cast(kernel, self.compute_dtype))

    def call(self, inputs: Any) -> Any:
        """From (batch, height, width, channels) to (batch, new height, new width, filters)."""
        outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            outputs = outputs + keras.ops.cast(self.bias, self.compute_dtype)
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable(package="kdrecipes")
class Reordered(keras.layers.Layer):
    """A network's outputs in another order.

    Args:
        order: output number i is input number `order[i]`, counted from 0.
        **options: those of `keras.layers.Layer`.
    """

    def __init__(self, order: Sequence[int], **options: Any):
        super().__init__(**options)
        self.order = [int(place) for place in order]

    def call(self, inputs: Any) -> Any:
        """From (batch, classes) to (batch, classes)."""
        return keras.ops.take(inputs, self.order, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The layer's options, for saved files."""
        return {**super().get_config(), "order": self.order}
