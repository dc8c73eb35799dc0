"""Weight standardisation: the formula, under any precision, and computed once where nothing learns."""

import numpy as np
import pytest
import torch

from kdrecipes.backend import keras
from kdrecipes.fast import accelerate, convolution, frozen
from kdrecipes.layers import StandardizedConv2D

layers = keras.layers
IMAGES = torch.randn(2, 9, 8, 3, generator=torch.Generator().manual_seed(0))


def model_of(policy="float32", **options):
    inputs = keras.Input(IMAGES.shape[1:])
    layer = StandardizedConv2D(5, 3, 2, **options, dtype=policy, name="conv")
    model = keras.Model(inputs, layer(layers.ZeroPadding2D(1, dtype=policy)(inputs)))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(0.3, 0.02, size=w.shape) for w in layer.get_weights()])
    return model, layer


def expected(layer):
    """The formula with a loop over filters in float64, and an ordinary convolution."""
    kernel = layer.get_weights()[0].astype(np.float64)
    for k in range(kernel.shape[-1]):
        w = kernel[..., k]
        kernel[..., k] = (w - w.mean()) / np.sqrt(((w - w.mean()) ** 2).mean() + 1e-10)
    bias = torch.from_numpy(layer.get_weights()[1]).double() if layer.use_bias else None
    x = IMAGES.double().permute(0, 3, 1, 2)
    y = torch.nn.functional.conv2d(x, torch.from_numpy(kernel).permute(3, 2, 0, 1), bias, 2, 1)
    return y.permute(0, 2, 3, 1)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("change", [lambda model: model, accelerate, frozen], ids=["keras", "accelerated", "frozen"])
def test_outputs_are_those_of_the_formula(change, use_bias):
    model, layer = model_of(use_bias=use_bias)
    torch.testing.assert_close(change(model)(IMAGES).detach().double(), expected(layer), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
def test_half_precision_standardises_in_float32(use_bias):
    """Filters of a spread of 0.001 around 1: their mean and variance are nothing in bfloat16."""

    def output(policy):
        model, layer = model_of(policy, use_bias=use_bias)
        kernel, *bias = layer.get_weights()
        layer.set_weights([1 + 0.05 * (kernel - 0.3), *bias])
        assert layer._kernel.dtype == "float32"
        return model(IMAGES).detach().float(), model

    exact, model = output("float32")
    assert (output("mixed_bfloat16")[0] - exact).abs().max() <= 0.03 * exact.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        assert (accelerate(model)(IMAGES).float() - exact).abs().max() <= 0.03 * exact.abs().max()


def test_a_frozen_model_standardises_once(monkeypatch):
    model, layer = model_of()
    calls = []
    monkeypatch.setattr(
        convolution, "standardized", lambda k, stock=convolution.standardized: calls.append(k) or stock(k)
    )
    infer = frozen(model)
    assert len(calls) == 1
    before = infer(IMAGES)
    layer.set_weights([2 * w for w in layer.get_weights()])
    torch.testing.assert_close(infer(IMAGES), before)
    assert len(calls) == 1


def test_the_file_is_loaded_safely(tmp_path):
    model, _ = model_of()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("conv")) is StandardizedConv2D
    torch.testing.assert_close(loaded(IMAGES), model(IMAGES))
