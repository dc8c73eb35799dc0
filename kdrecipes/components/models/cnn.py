"""`cnn`: a plain convolutional network of Keras' own layers, at home at 8–64 px."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options

if TYPE_CHECKING:
    import keras


def build(classes: int, image_size: int, width: int = 32, depth: int = 2) -> keras.Model:
    """`depth` stages of two 3×3 convolutions, each stage half as large and twice as wide as the one before.

    Args:
        classes: number of logits.
        image_size: pixels per side of the input.
        width: channels of the first stage.
        depth: number of stages; each but the first halves the image.

    Returns:
        A model from (batch, image_size, image_size, 3), float 0–255, to logits (batch, classes).
    """
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_unit_range")(pixels)
    for stage in range(depth):
        for half in ("a", "b"):
            stride = 2 if stage and half == "a" else 1
            name = f"stage{stage + 1}{half}"
            x = layers.Conv2D(width * 2**stage, 3, stride, "same", use_bias=False, name=f"{name}_conv")(x)
            # Keras' momentum of 0.99 still remembers the start after a few hundred steps.
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Dense(classes, name="logits")(x), name="cnn")


COMPONENT = Component(
    kind="model",
    name="cnn",
    build=build,
    summary="plain convolutional network for small images",
    options=options(
        "model",
        build,
        width={
            "minimum": 1,
            "maximum": 1024,
            "description": "Channels of the first stage; each later stage has twice as many.",
        },
        depth={
            "minimum": 1,
            "maximum": 6,
            "description": "Stages of two convolutions; each but the first halves the image.",
        },
    ),
)
