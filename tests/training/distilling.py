"""What tests of the distiller share: small networks, a fit that shows nothing, what is left unchanged."""

import numpy as np
import torch

from kdrecipes import Distiller
from kdrecipes.backend import keras, seed_everything

CLASSES, SIZE, EXAMPLES = 5, 6, 20
layers = keras.layers


def net(seed=0, width=3, size=SIZE, *, norm=True, dropout=0.0, l2=None, dtype=None, low=None, stride=1):
    """Pixels → convolution → (norm) → "feature" → (dropout) → logits."""
    seed_everything(seed)
    options = {"dtype": dtype}
    pixels = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5 if low is None else 1 / 255, -1.0 if low is None else low, **options)(pixels)
    x = layers.Conv2D(width, 3, stride, "same", kernel_regularizer=l2 and keras.regularizers.L2(l2), **options)(x)
    if norm:
        x = layers.BatchNormalization(momentum=0.9, **options)(x)
    x = layers.ReLU(name="feature", **options)(x)
    if dropout:
        x = layers.Dropout(dropout, **options)(x)
    x = layers.GlobalAveragePooling2D(**options)(x)
    return keras.Model(pixels, layers.Dense(CLASSES, name="head", **options)(x))


def nested(seed=0, width=3, kind="sequential"):
    """The same with a backbone that is a model of its own."""
    seed_everything(seed)
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU(name="feature")(layers.Conv2D(width, 3, padding="same")(pixels))
    body = keras.Model(pixels, x, name="body")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
    if kind == "sequential":
        return keras.Sequential([keras.Input((SIZE, SIZE, 3)), body, *head])
    pixels = keras.Input((SIZE, SIZE, 3))
    return keras.Model(pixels, head[1](head[0](body(pixels))))


class TorchNet(torch.nn.Module):
    """A torch teacher with everything that listens to the training mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
        self.head = torch.nn.Linear(4, CLASSES)
        self.body[1].eval()  # a mode of its own, which must survive

    def forward(self, image):
        assert image.shape[-1] == 3
        return self.head(self.body(image.permute(0, 3, 1, 2) / 255).mean((2, 3)))


def made(student=None, optimizer=None, **options):
    distiller = Distiller(student=student or net(), **options)
    distiller.compile(optimizer or keras.optimizers.SGD(0.1), metrics=["accuracy"])
    return distiller


def fit(distiller, *args, **options):
    history = distiller.fit(*args, verbose=0, **{"shuffle": False, **options}).history
    return {name: values if len(values) > 1 else values[0] for name, values in history.items()}


def snapshot(model):
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.variables]


def same(before, after):
    return len(before) == len(after) and all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def logits_of(model, images, training=False):
    with torch.no_grad():
        return model(torch.as_tensor(images), training=training)


def counting(model, monkeypatch):
    calls = []
    stock = model.call

    def call(*args, **kwargs):
        if not args[0].is_meta:  # Keras' symbolic call before the first step
            calls.append(kwargs.get("training"))
        return stock(*args, **kwargs)

    monkeypatch.setitem(model.__dict__, "call", call)
    return calls


def constant(value):
    return lambda labels, student, teacher: student.logits.new_full((len(student.logits),), value)
