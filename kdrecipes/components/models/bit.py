"""BiT-M: the pre-activation ResNets with group norm and weight standardisation of "Big Transfer" (arXiv:1912.11370).

The graph is that of the paper's published code: explicit zero padding and "valid" convolutions, since TensorFlow's
"same" pads strided ones unevenly; zeros around the max pooling, whose input is signed; no normalisation behind the
stem. Every convolution is standardised and has no bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models.bit_sizes import SIZES, Size
from kdrecipes.components.options import SHA256_OPTION, options

if TYPE_CHECKING:
    import keras

GROUPS, EPSILON = 32, 1e-5  # Keras' group norm would take 1e-3
STAGE_FILTERS = (64, 128, 256, 512)  # of the 3×3 convolutions; a stage gives out four times as many


def bit(classes: int, image_size: int, size: Size, name: str = "bit") -> keras.Model:
    """A BiT network with random weights and a head of zeros, as BiT starts a transfer.

    Args:
        classes: width of the logits.
        image_size: pixels per side of the input; the network divides it by 32.
        size: its depth and width.
        name: the model's.

    Returns:
        A model from RGB pixels, float (batch, image_size, image_size, 3) in 0–255, to logits (batch, classes).
    """
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_unit_range")(pixels)
    x = layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = _convolution(x, 64 * size.width, "stem_conv", kernel=7, stride=2)
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool")(x)
    for block, (units, filters) in enumerate(zip(size.units, STAGE_FILTERS, strict=True), 1):
        for unit in range(1, units + 1):
            stride = 2 if block > 1 and unit == 1 else 1
            x = _unit(x, filters * size.width, stride, unit == 1, f"block{block}_unit{unit:02}")
    x = layers.GlobalAveragePooling2D(name="head_pool")(_norm_relu(x, "head"))
    logits = layers.Dense(classes, kernel_initializer="zeros", name="logits")(x)
    return keras.Model(pixels, logits, name=name)


def _unit(x: keras.KerasTensor, filters: int, stride: int, projects: bool, name: str) -> keras.KerasTensor:
    """A bottleneck; the shortcut's projection takes the activated input, and nothing follows the sum."""
    from keras import layers

    shortcut = x
    x = _norm_relu(x, f"{name}_a")
    if projects:
        shortcut = _convolution(x, 4 * filters, f"{name}_proj", stride=stride)
    x = _norm_relu(_convolution(x, filters, f"{name}_a_conv"), f"{name}_b")
    x = layers.ZeroPadding2D(1, name=f"{name}_b_pad")(x)
    x = _norm_relu(_convolution(x, filters, f"{name}_b_conv", kernel=3, stride=stride), f"{name}_c")
    return layers.Add(name=f"{name}_add")([_convolution(x, 4 * filters, f"{name}_c_conv"), shortcut])


def _convolution(x: keras.KerasTensor, filters: int, name: str, kernel: int = 1, stride: int = 1) -> keras.KerasTensor:
    from kdrecipes.layers import StandardizedConv2D

    return StandardizedConv2D(filters, kernel, stride, use_bias=False, kernel_initializer="lecun_normal", name=name)(x)


def _norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    x = layers.GroupNormalization(GROUPS, epsilon=EPSILON, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _component(name: str, title: str, millions: float) -> Component:
    def build(classes: int, image_size: int, weights: str = "imagenet21k", sha256: str | None = None) -> keras.Model:
        model = bit(classes, image_size, SIZES[name], name)
        if weights != "none":
            from kdrecipes.components.models.bit_weights import load_weights, weights_file

            load_weights(model, SIZES[name], weights_file(weights, title, sha256), sha256)
        return model

    return Component(
        kind="model",
        name=name,
        build=build,
        summary=f"BiT-M-{title}, a pre-activation ResNet for transfer, {millions} M parameters without the head",
        options=options(
            "model",
            build,
            image_size={"minimum": 32},
            weights={
                "anyOf": [
                    {"enum": ["none", "imagenet21k", "imagenet"]},
                    {"type": "string", "minLength": 1, "format": "path"},
                ],
                "examples": ["imagenet21k", "imagenet", "none", "BiT-M-R50x1.npz"],
                "x-rule": 'must be "none", "imagenet21k", "imagenet", or an .npz, .safetensors or .weights.h5 file',
                "description": '"imagenet21k" or "imagenet" (downloads), "none", or a file: Google\'s .npz, '
                "timm's or Hugging Face's .safetensors, or a .weights.h5 file of this same model. A head of "
                "another width is left out; the new one begins at zero.",
            },
            sha256=SHA256_OPTION | {"description": "What the weights file must have; checked before it is read."},
        ),
    )


COMPONENTS = [_component("bit_m_r50x1", "R50x1", 23.5), _component("bit_m_r101x1", "R101x1", 42.5)]
