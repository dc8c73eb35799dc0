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


@pytest.mark.parametrize(("name", "options", "size"), MODELS)
def test_accelerated_model_agrees_with_stock(name, options, size):
    """Whole models agree in both modes; gradients are compared layer by layer, where rounding has no way to grow."""
    images = torch.rand(8, size, size, 3, generator=torch.Generator().manual_seed(0)) * 255
    stock, fast = build(name, options, size), accelerate(build(name, options, size))
    assert any("call" in layer.__dict__ for layer in fast._flatten_layers())
    with torch.no_grad():
        for training in (False, True):
            mine, theirs = fast(images, training=training), stock(images, training=training)
            assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    for mine, theirs in zip(fast.non_trainable_variables, stock.non_trainable_variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-5)


LAYERS = [
    keras.layers.Conv2D(6, 3),
    keras.layers.Conv2D(6, 3, 2, "same", activation="relu"),
    keras.layers.Conv2D(6, (5, 3), (1, 2), "same", use_bias=False),
    keras.layers.Conv2D(6, 3, padding="same", dilation_rate=2),
    keras.layers.Conv2D(6, 1, groups=2),
    keras.layers.DepthwiseConv2D(3, 2, "same"),
    keras.layers.DepthwiseConv2D(5, padding="valid", depth_multiplier=2, activation="relu6"),
    keras.layers.ZeroPadding2D(((1, 2), (0, 3))),
    keras.layers.BatchNormalization(momentum=0.7),
    keras.layers.BatchNormalization(scale=False),
    keras.layers.BatchNormalization(center=False, epsilon=1e-2),
    # Left to Keras:
    keras.layers.Conv2D(6, 3, data_format="channels_first"),
    keras.layers.BatchNormalization(axis=1),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{type(layer).__name__}-{LAYERS.index(layer)}")
def test_single_layers_agree_in_outputs_gradients_and_statistics(layer, training):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(4, 8, 9, 4, generator=generator) * 3 + 1

    def outcome(change):
        seed_everything(2)
        inputs = keras.Input(images.shape[1:])
        copy = type(layer).from_config(layer.get_config())
        model = change(keras.Model(inputs, copy(inputs)))
        for variable in model.trainable_variables:
            variable.assign(np.random.default_rng(1).normal(size=variable.shape))
        x = images.clone().requires_grad_()
        y = model(x, training=training)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
        (y * weights).sum().backward()
        gradients = [v.value.grad for v in model.trainable_variables]
        return [y.detach(), x.grad, *gradients, *(v.value.detach() for v in model.non_trainable_variables)]

    for mine, theirs in zip(outcome(accelerate), outcome(lambda m: m), strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


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
