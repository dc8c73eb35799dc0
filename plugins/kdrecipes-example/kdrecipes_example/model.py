"""`example_cnn`: two convolutions."""

from kdrecipes import Component


def build(classes: int, image_size: int, width: int = 16):
    """From pixels, float 0–255, (batch, image_size, image_size, 3), to logits (batch, classes)."""
    import keras

    pixels = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)  # the preprocessing is part of the network
    for stage in (1, 2):
        x = keras.layers.Conv2D(stage * width, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, keras.layers.Dense(classes)(x))  # logits: no softmax


COMPONENT = Component(
    kind="model",
    name="example_cnn",
    build=build,
    summary="two convolutions, each halving the image",
    options={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "classes": {"type": "integer"},  # these two the run passes
            "image_size": {"type": "integer"},
            "width": {"type": "integer", "minimum": 1, "default": 16, "description": "Channels of the first."},
        },
    },
)
