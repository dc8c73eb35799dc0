"""What gives a network's logits, and from which features: found in graphs of every kind, or told why not."""

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.classifiers import classifier_of, layer_at, spot_named
from kdrecipes.layers import Reordered
from kdrecipes.torch_modules import as_keras

layers = keras.layers
SIZE = 8


def body(pixels, width=4):
    return layers.ReLU(name="map")(layers.Conv2D(width, 3, name="conv")(pixels))


def plain(end=lambda x: layers.Dense(3, bias_initializer="normal")(x), pool=True):
    pixels = keras.Input((SIZE, SIZE, 3))
    x = body(pixels)
    return keras.Model(pixels, end(layers.GlobalAveragePooling2D(name="pool")(x) if pool else x))


def nested(head_inside):
    """A backbone that is a model of its own, before a head that is one too, or that is not."""
    inner = keras.Input((SIZE, SIZE, 3))
    backbone = keras.Model(inner, layers.GlobalAveragePooling2D(name="pool")(body(inner)), name="backbone")
    head = [layers.Dropout(0.5), layers.Dense(3)]
    if head_inside:
        head = [keras.Sequential([keras.Input((4,)), *head], name="head")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), backbone, *head])


def convolution():
    """A classifier as MobileNetV3 has it."""
    x = keras.Input((SIZE, SIZE, 3))
    y = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(body(x))
    y = layers.Flatten()(layers.Conv2D(3, 1, bias_initializer="normal")(layers.Dropout(0.5)(y)))
    return keras.Model(x, layers.Activation("linear")(y))


NETWORKS = {
    "plain": (plain, "pool", "map"),
    "without a bias": (lambda: plain(layers.Dense(3, use_bias=False)), "pool", "map"),
    "reordered": (lambda: reordered(plain()), "pool", "map"),
    "reordered twice": (lambda: reordered(reordered(plain())), "pool", "map"),
    "nested": (lambda: nested(False), "backbone/pool", "backbone/map"),
    "nested twice": (lambda: nested(True), "backbone/pool", "backbone/map"),
    "a convolution": (convolution, "pool", "map"),
    "a map": (lambda: plain(lambda x: layers.Dense(3)(layers.Flatten(name="flat")(x)), pool=False), "flat", "flat"),
}


def reordered(model):
    return keras.Model(model.input, Reordered([2, 0, 1])(model.output))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_classifier_of_the_features_gives_the_logits(name):
    make, pooled, unpooled = NETWORKS[name]
    model = make()
    found = classifier_of(model, "teacher")
    assert layer_at(found.reads, "teacher", "teacher_layers") == pooled
    assert layer_at(found.reads.before_pooling(), "teacher", "teacher_layers") == unpooled
    images = torch.rand(2, SIZE, SIZE, 3)
    for path in (pooled, unpooled):
        spot = spot_named(model, path, "student")
        inputs, tensor = spot.cut()
        features = keras.Model(inputs, tensor)(images)
        features = features.mean((1, 2)) if path == unpooled != pooled else features.reshape(2, -1)
        np.testing.assert_allclose(
            found.logits(features).detach(), model(images, training=False).detach(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["cnn", "mobilenet_v3_small"])
def test_built_in_networks_have_one(name):
    options = {"width": 2} if name == "cnn" else {}
    model = kdrecipes.component("model", name).build(classes=5, image_size=32, **options)
    assert [tuple(weight.shape[-1:]) for weight in classifier_of(model, "student").weights()] == [(5,), (5,)]


class Net(torch.nn.Module):
    def forward(self, pixels):
        return pixels.mean((1, 2))


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (Net, "a torch module"),
        (lambda: as_keras(Net(), 3, SIZE), r"a torch module \('module'\)"),
        (Subclassed, "Subclassed, which is no graph of layers"),
        (
            lambda: plain(lambda x: layers.BatchNormalization(name="bn")(layers.Dense(3)(x))),
            r"BatchNormalization \('bn",
        ),
        (lambda: plain(layers.Dense(3, activation="relu", name="end")), r"Dense with the activation relu \('end'\)"),
        (lambda: plain(lambda x: layers.Flatten()(layers.Conv2D(3, 1, name="c")(x)), False), r"Conv2D \('c'\)"),
    ],
)
def test_what_has_none_is_told(make, received):
    with pytest.raises(ValueError, match=f"^The teacher's classifier can't be found: a Dense .* Received: {received}"):
        classifier_of(make(), "teacher")


def test_features_that_no_layer_gives_are_told():
    pixels = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(pixels, layers.Dense(3)(keras.ops.mean(body(pixels), (1, 2))))
    with pytest.raises(ValueError, match=r"classifier reads is given out by no layer \('mean.*name one in student_l"):
        layer_at(classifier_of(model, "student").reads, "student", "student_layers")


def test_a_layer_that_is_not_there_or_several_times_is_told():
    model = nested(False)
    assert spot_named(model, "map", "student").path == spot_named(model, "*map", "student").path == "backbone/map"
    with pytest.raises(
        ValueError, match=r"The student has no layer 'backbone/mop' in its graph\. Did you mean 'backbon"
    ):
        spot_named(model, "backbone/mop", "student")
    inner = [keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same")], name=name) for name in ("a", "b")]
    with pytest.raises(ValueError, match="The student has several layers called 'same': a/same, b/same"):
        spot_named(keras.Sequential([keras.Input((4,)), *inner]), "same", "student")
