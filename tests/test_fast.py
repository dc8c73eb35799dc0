"""The fast path agrees with stock Keras, in outputs, gradients and moving statistics, and leaves files alone."""

import numpy as np
import pytest
import torch

from kdrecipes import component
from kdrecipes.backend import keras, seed_everything
from kdrecipes.fast import accelerate

MODELS = [
    ("cnn", {"width": 8}, 16),
    ("mobilenet_v3_small", {"dropout": 0.0}, 33),
    ("efficientnet_b0", {"dropout": 0.0}, 32),
]


def build(name, options, size):
    seed_everything(1)
    model = component("model", name).build(classes=5, image_size=size, **options)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):  # stochastic depth too: both copies must see the same network
            layer.rate = 0.0
    return model


def train_once(model, images):
    model.zero_grad()
    logits = model(images, training=True)
    logits.square().sum().backward()
    gradients = [v.value.grad.numpy() for v in model.trainable_variables]
    return logits.detach().numpy(), gradients, [v.numpy() for v in model.non_trainable_variables]


def close(a, b):
    # Rounding grows through dozens of layers; relative to the largest value of each array.
    return np.abs(a - b).max() <= 2e-3 * max(np.abs(b).max(), 1e-3)


@pytest.mark.parametrize(("name", "options", "size"), MODELS)
def test_accelerated_model_agrees_with_stock(name, options, size):
    images = torch.rand(6, size, size, 3, generator=torch.Generator().manual_seed(0)) * 255
    stock, fast = build(name, options, size), accelerate(build(name, options, size))
    with torch.no_grad():
        np.testing.assert_allclose(fast(images, training=False), stock(images, training=False), rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(train_once(fast, images), train_once(stock, images), strict=True):
        pairs = zip(mine, theirs, strict=True) if isinstance(mine, list) else [(mine, theirs)]
        assert all(close(a, b) for a, b in pairs if a.dtype == np.float32)


def test_batch_norm_keeps_the_biased_variance():
    layer = keras.layers.BatchNormalization(momentum=0.0)
    inputs = keras.Input((2, 2, 3))
    model = accelerate(keras.Model(inputs, layer(inputs)))
    x = torch.rand(2, 2, 2, 3)
    model(x, training=True)
    np.testing.assert_allclose(layer.moving_variance.numpy(), x.var((0, 1, 2), unbiased=False), rtol=1e-5)


def test_one_value_per_channel_and_frozen_layers_are_left_right():
    inputs = keras.Input((1, 1, 3))
    layer = keras.layers.BatchNormalization()
    model = accelerate(keras.Model(inputs, layer(inputs)))
    assert torch.isfinite(model(torch.rand(1, 1, 1, 3), training=True)).all()
    layer.trainable = False
    before = layer.moving_mean.numpy().copy()
    model(torch.rand(4, 1, 1, 3), training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


def test_saved_file_and_clone_are_plain_keras(tmp_path):
    model = accelerate(build("cnn", {"width": 4}, 8))
    model.save(tmp_path / "m.keras")
    reloaded = keras.models.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    for plain in (reloaded, keras.models.clone_model(model)):
        assert not any("call" in layer.__dict__ for layer in plain._flatten_layers())
    x = torch.rand(2, 8, 8, 3) * 255
    with torch.no_grad():
        np.testing.assert_allclose(model(x, training=False), reloaded(x, training=False), rtol=1e-4, atol=1e-5)
