"""The networks that are compared, and their training step as stock Keras and as kdrecipes run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kdrecipes import KD, fast
from kdrecipes.backend import current_device, keras, seed_everything
from kdrecipes.recipe.make import train_table
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.fit import prepare_steps

CLASSES = 10
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.01
TITLES = {
    "efficientnet_b0": "EfficientNetB0",
    "mobilenet_v3_large": "MobileNetV3Large",
    "mobilenet_v3_small": "MobileNetV3Small",
    "resnet50_v2": "ResNet50V2",
    "resnet20": "ResNet-20",
}


def build(name: str, size: int, precision: str = "float32") -> keras.Model:
    """A network of `keras.applications` with random weights, from pixels 0–255 to logits; always the same weights.

    `precision` is Keras' own: a policy of its layers.
    """
    seed_everything(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        pixels = keras.Input((size, size, 3))
        # The others have their preprocessing inside.
        x = keras.layers.Rescaling(1 / 127.5, -1.0)(pixels) if name == "resnet50_v2" else pixels
        application = getattr(keras.applications, TITLES[name])
        return application(input_tensor=x, weights=None, classes=CLASSES, classifier_activation=None)
    finally:
        keras.config.set_dtype_policy(before)


def two_layers(size: int) -> keras.Model:
    """The smallest network: all that is left of a step is its fixed cost."""
    seed_everything(0)
    return keras.Sequential([keras.Input((size, size, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])


def resnet20(size: int) -> keras.Model:
    """The ResNet of twenty layers for small images: three stages of three blocks, 16, 32 and 64 channels wide.

    He et al., arXiv:1512.03385, section 4.2; where a stage begins a 1×1 convolution stands on the shortcut.
    """
    seed_everything(0)
    layers = keras.layers

    def convolved(x: Any, width: int, kernel: int, stride: int) -> Any:
        return layers.BatchNormalization()(layers.Conv2D(width, kernel, stride, "same", use_bias=False)(x))

    pixels = keras.Input((size, size, 3))
    x = layers.ReLU()(convolved(layers.Rescaling(1 / 127.5, -1.0)(pixels), 16, 3, 1))
    for width in (16, 32, 64):
        for block in range(3):
            stride = 2 if width > 16 and block == 0 else 1
            shortcut = convolved(x, width, 1, stride) if stride > 1 else x
            inner = layers.ReLU()(convolved(x, width, 3, stride))
            x = layers.ReLU()(layers.Add()([convolved(inner, width, 3, 1), shortcut]))
    return keras.Model(pixels, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def batch_of(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pixels, float32 (count, size, size, 3), and labels, int64 (count,), on the device in use."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, size, size, 3), generator=generator).float()
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels)


def stock(model: keras.Model) -> keras.Model:
    """Compiled as a Keras user does it."""
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # compiled steps were slower
    )
    return model


def distiller(
    student: keras.Model,
    teacher: keras.Model | None = None,
    *,
    kd: bool = False,
    term: Any = None,
    precision: str = "float32",
) -> Distiller:
    """Compiled as a run does it: on labels only, or with `kd` or another term too.

    What a term hears of the teacher's logits is its own or the batch's.
    """
    loss = KD(temperature=4.0) if kd else term
    terms: dict[str, Any] = {} if loss is None else {"loss": loss, "weight": 0.5, "label_weight": 0.5}
    model = Distiller(student=fast.accelerate(student), teacher=teacher, precision=precision, **terms)
    optimizer = {"name": "adamw", "learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}
    train = {"epochs": 1, "batch_size": 64, "precision": precision, "fast": True, "compile": False}
    table = train_table({**train, "optimizer": optimizer, "schedule": {"name": "constant"}})
    prepare_steps(model, table, steps=1, jit_compile=False)
    return model


def frozen(model: keras.Model, precision: str = "float32") -> Callable[[torch.Tensor], torch.Tensor]:
    """A teacher as a run asks it: from images to logits."""
    logits_of = fast.frozen(model)

    def ask(images: torch.Tensor) -> torch.Tensor:
        with autocast(precision):
            return logits_of(images)

    return ask


def autocast(precision: str) -> torch.autocast:
    """torch's own mixed precision; float32 is none."""
    device = torch.device(current_device()).type
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


def step_of(model: keras.Model, x: Any, y: torch.Tensor) -> Callable[[], Any]:
    """One training step as `fit`'s inner loop calls it, on a batch in memory."""
    model.make_train_function()
    model.train()
    if isinstance(model, Distiller):
        model.teachers.refreeze()  # as its `fit` does at its beginning
    data = [(x, y)]  # the epoch iterator gives a list of `steps_per_execution` batches
    return lambda: model.train_function(data)


def as_loaded(images: torch.Tensor, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """A batch's `x` as the run's loader gives it."""
    return {"image": images, "index": torch.arange(len(images), device=images.device), **more}
