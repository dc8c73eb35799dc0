"""Layers are found by path or bare name, and tapped in the pass that happens anyway."""

import numpy as np
import pytest
import torch

from kdrecipes.backend import keras
from kdrecipes.features import find_layer, layer_paths, tapped


def backbone(name):
    pixels = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, name="conv_1")(pixels)
    return keras.Model(pixels, keras.layers.ReLU(name="relu")(x), name=name)


@pytest.fixture(scope="module")
def nested():
    head = [keras.layers.Flatten(name="flat"), keras.layers.Dense(3, name="head")]
    return keras.Sequential([keras.Input((4, 4, 3)), backbone("body"), *head], name="net")


@pytest.fixture(scope="module")
def torch_net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Sequential(torch.nn.Linear(48, 2), torch.nn.ReLU()))


def test_paths_reach_into_nested_models(nested):
    paths = layer_paths(nested)
    assert {"body", "body/conv_1", "body/relu", "flat", "head"} <= set(paths)
    assert find_layer(nested, "body/relu") is find_layer(nested, "relu") is paths["body/relu"]


def test_functional_nesting_and_two_layers_of_one_name():
    pixels = keras.Input((4, 4, 3))
    both = keras.layers.Concatenate()([backbone("left")(pixels), backbone("right")(pixels)])
    model = keras.Model(pixels, both, name="twins")
    assert find_layer(model, "left/conv_1") is not find_layer(model, "right/conv_1")
    with pytest.raises(ValueError, match=r"several layers called 'conv_1': left/conv_1, right/conv_1\. Give the whole"):
        find_layer(model, "conv_1")


def test_one_layer_at_two_places_is_one_layer():
    shared = backbone("shared")
    pixels = keras.Input((4, 4, 3))
    inner = [keras.Model(i := keras.Input((4, 4, 3)), shared(i), name=n) for n in ("a", "b")]
    model = keras.Model(pixels, keras.layers.Add()([m(pixels) for m in inner]))
    assert find_layer(model, "relu") is shared.get_layer("relu")


@pytest.mark.parametrize("wrong", ["body/conv1", "conv1"])
def test_unknown_layer_names_the_nearest(nested, wrong):
    with pytest.raises(ValueError, match=f"'net' has no layer '{wrong}'. Did you mean 'body/conv_1'"):
        find_layer(nested, wrong)


def test_unknown_layer_far_from_all_lists_some(nested):
    with pytest.raises(ValueError, match=r"It has: .*body.*head"):
        find_layer(nested, "zzz")


def test_torch_modules_by_slash_or_dot(torch_net):
    assert find_layer(torch_net, "1/0") is find_layer(torch_net, "1.0") is torch_net[1][0]


def test_taps_read_the_same_pass_and_leave_no_trace(nested, torch_net):
    images = torch.rand(2, 4, 4, 3)
    with tapped({"relu": find_layer(nested, "relu"), "body": find_layer(nested, "body")}) as features:
        nested(images, training=False)
    np.testing.assert_array_equal(features["relu"].detach(), features["body"].detach())
    assert features["relu"].shape == (2, 2, 2, 2)
    assert not any("call" in layer.__dict__ for layer in nested._flatten_layers())
    with tapped({"linear": torch_net[1][0]}) as features:
        torch_net(images)
    assert features["linear"].shape == (2, 2)
    assert not torch_net[1][0]._forward_hooks


def test_a_call_that_was_there_stays(nested):
    layer = find_layer(nested, "relu")
    own = layer.__dict__["call"] = lambda x: x * 0 + 7
    try:
        with tapped({"relu": layer}) as features:
            nested(torch.rand(1, 4, 4, 3))
        assert (features["relu"] == 7).all()
        assert layer.__dict__["call"] is own
    finally:
        del layer.__dict__["call"]


def test_an_error_inside_unwraps_too(nested):
    with pytest.raises(RuntimeError, match="mine"), tapped({"relu": find_layer(nested, "relu")}):
        raise RuntimeError("mine")
    assert "call" not in find_layer(nested, "relu").__dict__


def test_a_layer_that_was_not_called_is_an_error(nested):
    with pytest.raises(ValueError, match="'relu' was not called"), tapped({"relu": find_layer(nested, "relu")}):
        pass
