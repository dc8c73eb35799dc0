"""Layers are found by path or bare name, and tapped in the pass that happens anyway."""

import numpy as np
import pytest
import torch

from kdrecipes.backend import keras
from kdrecipes.torch_modules import as_keras
from kdrecipes.training.features import channels_last, find_layer, layer_paths, tapped
from kdrecipes.training.inference import Inference


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


def test_paths_tell_two_nested_layers_of_one_name_apart():
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


def test_layers_of_torch_modules_are_named_by_slash_or_dot(torch_net):
    assert find_layer(torch_net, "1/0") is find_layer(torch_net, "1.0") is torch_net[1][0]


class Photos(torch.nn.Module):
    """A torch network for a run, with what can't be read: a module called twice, one never, one that gives a tuple."""

    class Pair(torch.nn.Module):
        def forward(self, x):
            return x, x

    def __init__(self):
        super().__init__()
        self.stages = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.relu, self.spare, self.pair = torch.nn.ReLU(), torch.nn.Linear(1, 1), self.Pair()
        self.head = torch.nn.Linear(4, 5)

    def forward(self, pixels):
        x = self.relu(self.pair(self.relu(self.stages(pixels.permute(0, 3, 1, 2))))[0])
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def photos():
    return as_keras(Photos(), 5, 8)


@pytest.mark.parametrize("name", ["stages/0", "stages.0", "module/stages/0", "module.stages.0", "0", "st*.[0]"])
def test_modules_of_a_wrapped_torch_network_are_named_as_by_itself(photos, name):
    assert find_layer(photos, name) is photos.layers[1].module.stages[0]


def test_a_wrapped_torch_network_inside_another_model_has_a_path():
    twice = [
        keras.layers.TorchModuleWrapper(torch.nn.Sequential(torch.nn.Flatten()), output_shape=(None, 48), name=n)
        for n in ("one", "two")
    ]
    pixels = keras.Input((4, 4, 3))
    model = keras.Model(pixels, keras.layers.Add()([layer(pixels) for layer in twice]))
    assert find_layer(model, "two/0") is twice[1].module[0]
    with pytest.raises(ValueError, match=r"several layers called '0': one/0, two/0\."):
        find_layer(model, "0")


@pytest.mark.parametrize(("glob", "path"), [("*conv*", "body/conv_1"), ("body/r?lu", "body/relu"), ("h*", "head")])
def test_a_glob_finds_the_only_layer_that_it_matches(nested, glob, path):
    assert find_layer(nested, glob) is layer_paths(nested)[path]


def test_a_glob_that_matches_several_layers_lists_them_and_one_that_matches_none_tells_the_nearest(nested, photos):
    with pytest.raises(ValueError, match=r"'net' has several layers that 'body/\*' matches: body/\S+, body/.*that one"):
        find_layer(nested, "body/*")
    with pytest.raises(ValueError, match=r"'net' has no layer 'body/conv_\[2-9\]'\. Did you mean 'body/conv_1'\?"):
        find_layer(nested, "body/conv_[2-9]")
    with pytest.raises(ValueError, match=r"no layer 'stage/0'\. Did you mean 'stages/0'\?"):
        find_layer(photos, "stage/0")


def test_a_glob_that_matches_one_layer_at_two_places_finds_it():
    shared = backbone("shared")
    pixels = keras.Input((4, 4, 3))
    inner = [keras.Model(i := keras.Input((4, 4, 3)), shared(i), name=n) for n in ("a", "b")]
    model = keras.Model(pixels, keras.layers.Add()([m(pixels) for m in inner]))
    assert find_layer(model, "*/relu") is shared.get_layer("relu")


def test_maps_of_torch_modules_are_given_channels_last(photos):
    taps = {name: find_layer(photos, name) for name in ("stages", "head")}
    images = torch.rand(2, 8, 8, 3)
    with torch.no_grad(), tapped(taps) as features:
        photos(images, training=False)
    with torch.no_grad():
        raw = photos.layers[1].module.eval().stages(images.permute(0, 3, 1, 2))
    assert features["stages"].shape == (2, 6, 6, 4) and features["head"].shape == (2, 5)
    torch.testing.assert_close(features["stages"], raw.permute(0, 2, 3, 1))


def test_what_is_square_only_with_channels_last_stays():
    for shape, seen in (
        ((2, 7, 4, 4), (2, 4, 4, 7)),  # channels first
        ((2, 4, 4, 7), (2, 4, 4, 7)),  # channels last, as Swin's blocks give them
        ((2, 4, 4, 4), (2, 4, 4, 4)),
        ((2, 7, 3, 5), (2, 3, 5, 7)),
        ((2, 7, 4), (2, 7, 4)),
    ):
        assert channels_last(torch.zeros(shape)).shape == seen
    cube = torch.rand(1, 4, 4, 4)
    assert torch.equal(channels_last(cube), cube.permute(0, 2, 3, 1)), "where it can't be told, channels come first"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("relu", "is called several times in a forward pass: it is not known which output is meant"),
        ("spare", "was not called in the forward pass: it has no output to read"),
        ("pair", "gives a tuple, and a term reads one tensor"),
    ],
)
def test_what_a_torch_module_cannot_give_is_told_plainly(photos, name, why):
    for model in (photos, photos.layers[1].module):
        with pytest.raises(ValueError) as caught, tapped({name: find_layer(model, name)}):
            model(torch.rand(2, 8, 8, 3))
        assert str(caught.value) == f"Layer {name!r} {why}. `kdrecipes list layers` shows those that can be read."


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


def keras_state():
    """What Keras keeps globally while layers are being called."""
    from keras.src.backend.common import global_state

    names = ("current_call_ctx", "autocast_scope", "name_scope_stack")
    return [bool(global_state.get_global_attribute(name)) for name in names]


def counting(layer, monkeypatch):
    calls, call = [], layer.call
    monkeypatch.setitem(layer.__dict__, "call", lambda *a, **k: calls.append(1) or call(*a, **k))
    return calls


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_from_the_second_pass_on_layers_after_the_last_tap_are_not_run(monkeypatch, policy):
    keras.config.set_dtype_policy(policy)
    try:
        head = [keras.layers.Flatten(name="flat"), keras.layers.Dense(3, name="head")]
        model = keras.Sequential([keras.Input((4, 4, 3)), backbone("body"), *head])
    finally:
        keras.config.set_dtype_policy("float32")
    taps = {"conv_1": find_layer(model, "conv_1"), "body": find_layer(model, "body")}
    later = counting(find_layer(model, "head"), monkeypatch)
    first, inference = counting(find_layer(model, "conv_1"), monkeypatch), Inference(model)
    assert keras_state() == [False] * 3
    images = torch.rand(2, 4, 4, 3)
    with torch.no_grad():
        whole, *parts = (inference.features(image, taps) for image in (images, images, images * 2))
    assert (len(first), len(later)) == (3, 1)
    assert keras_state() == [False] * 3
    for name in taps:
        assert torch.equal(whole[name], parts[0][name]) and not torch.equal(whole[name], parts[1][name])
    with torch.no_grad():
        assert inference(images).shape == (2, 3)
    assert len(later) == 2, "the next whole pass is whole"


def test_a_torch_modules_pass_ends_early_and_keeps_its_modes(torch_net):
    ran = []
    handle = torch_net[1][1].register_forward_hook(lambda *a: ran.append(1))
    torch_net[1].train()
    inference = Inference(torch_net)
    for _ in range(3):
        features = inference.features(torch.rand(2, 4, 4, 3), {"linear": torch_net[1][0]})
    handle.remove()
    assert features["linear"].shape == (2, 2) and len(ran) == 1
    assert torch_net[1].training and torch_net[1][0].training and not torch_net[1][0]._forward_hooks


def test_a_layer_that_is_called_twice_gives_its_last_output_in_a_short_pass_too(monkeypatch):
    pixels = keras.Input((4, 4, 3))
    twice = keras.layers.Rescaling(2.0, name="twice")
    model = keras.Model(pixels, keras.layers.Flatten(name="flat")(twice(twice(pixels))))
    later, inference = counting(model.get_layer("flat"), monkeypatch), Inference(model)
    images = torch.rand(2, 4, 4, 3)
    for _ in range(2):
        assert torch.equal(inference.features(images, {"twice": twice})["twice"], images * 4)
    assert len(later) == 1


def test_an_error_in_a_short_pass_is_still_an_error(nested, monkeypatch):
    inference, relu = Inference(nested), find_layer(nested, "relu")
    inference.features(torch.rand(1, 4, 4, 3), {"relu": relu})

    def broken(*args, **kwargs):
        raise RuntimeError("mine")

    monkeypatch.setitem(find_layer(nested, "conv_1").__dict__, "call", broken)
    with pytest.raises(RuntimeError, match="mine"):
        inference.features(torch.rand(1, 4, 4, 3), {"relu": relu})
    assert "call" not in relu.__dict__ and keras_state() == [False] * 3


def test_a_layer_that_was_not_called_is_an_error(nested):
    with pytest.raises(ValueError, match="'relu' was not called"), tapped({"relu": find_layer(nested, "relu")}):
        pass


def test_a_glob_that_fits_nothing_gets_what_its_own_text_is_near_to():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.ReLU(name="stage2b_relu")(keras.layers.Conv2D(2, 1, name="stage2b_conv")(inputs))
    flat = keras.Model(inputs, keras.layers.Flatten(name="flat")(x), name="net")
    assert find_layer(flat, "stage2b*relu") is flat.get_layer("stage2b_relu")
    for glob in ("*/stage2b*relu", "*stage2b_rel", "body/*2b_relu"):
        with pytest.raises(ValueError, match=r"^The student has no layer .* Did you mean 'stage2b_relu'\?$"):
            find_layer(flat, glob, "the student")
    with pytest.raises(ValueError, match=r"^'net' has no layer '\*zzz'\. It has: .*stage2b_conv, stage2b_relu, flat$"):
        find_layer(flat, "*zzz")
