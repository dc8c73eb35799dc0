"""What `kdrecipes list layers` shows: every layer that a recipe may name, and none that it may not."""

from __future__ import annotations

import json

import pytest
from samples import TESTED, classifier_of, small

from kdrecipes.errors import RunError, UsageError
from kdrecipes.runs.build import build_model
from kdrecipes.runs.dry_run import data_without_images, dry_run
from kdrecipes.runs.layers import readable_layers, shapes_of
from kdrecipes.training.features import find_layer, layer_paths

CODE = """
import kdrecipes


def torch_net(classes, image_size):
    import torch

    class Pair(torch.nn.Module):
        def forward(self, x):
            return x, x

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
            self.relu, self.spare, self.pair = torch.nn.ReLU(), torch.nn.Linear(1, 1), Pair()
            self.head = torch.nn.Linear(4, classes)

        def forward(self, pixels):
            x = self.body(pixels.permute(0, 3, 1, 2) / 255)
            x = self.relu(self.pair(self.relu(x))[0])
            return self.head(x.mean((2, 3)))

    return Net()


def nested(classes, image_size):
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3))
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, name="conv")(pixels)))
    body = keras.Model(pixels, x, name="body")
    pixels = keras.Input((image_size, image_size, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(body(layers.Rescaling(1 / 255, name="unit")(pixels)))
    return keras.Model(pixels, layers.Dense(classes, name="head")(x))


@kdrecipes.hookimpl
def kdrecipes_components():
    for build in (torch_net, nested):
        yield kdrecipes.Component("model", build.__name__, build, {
            "type": "object", "additionalProperties": False,
            "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""


@pytest.fixture
def nets(tmp_path):
    """Recipes that may name the networks above."""
    (tmp_path / "nets.py").write_text(CODE)
    return lambda *more: small(*more, plugins=[tmp_path / "nets.py"])


def names(layers):
    return {layer.name: layer.shape for layer in layers}


def test_layers_of_nested_models_and_of_torch_modules_have_paths_and_shapes_channels_last(nets):
    layers = readable_layers(nets('student={name="nested"}', 'teacher={name="torch_net"}'))
    assert [layer.role for layer in layers] == ["student"] * 7 + ["teacher"] * 5
    assert names(layers[:7]) == {
        "unit": (None, 8, 8, 3),
        "body": (None, 6, 6, 4),
        "body/conv": (None, 6, 6, 4),
        "body/bn": (None, 6, 6, 4),
        "body/relu": (None, 6, 6, 4),
        "pool": (None, 4),
        "head": (None, 10),
    }
    assert names(layers[7:]) == {
        "body": (None, 6, 6, 4),
        "body/0": (None, 6, 6, 4),
        "body/1": (None, 6, 6, 4),
        "head": (None, 10),
        "module": (None, 10),
    }


@pytest.mark.parametrize("student", ['{name="cnn", width=4, depth=1}', '{name="nested"}', '{name="torch_net"}'])
def test_each_layer_that_is_listed_can_be_named_alone(nets, student):
    """Alone a layer may be computed in another way than among others that are listened to."""
    import torch

    from kdrecipes.training.features import tapped

    recipe = nets(f"student={student}")
    data = data_without_images(recipe)
    model = build_model(recipe, recipe.student, data)
    listed = shapes_of(model, 8)
    assert len(listed) > 4
    for name, shape in listed.items():
        with torch.no_grad(), tapped({name: find_layer(model, name)}) as features:
            model(torch.zeros(2, 8, 8, 3), training=False)
        assert tuple(features[name].shape[1:]) == shape[1:]


@pytest.mark.slow
def test_a_network_of_keras_hub_lists_the_layers_of_its_backbone():
    model = classifier_of(next(iter(TESTED)))
    listed = shapes_of(model, 32)
    assert listed["mobile_net_backbone/block_0_0/block_0_0_conv1"] == (None, 8, 8, 16)
    assert len(listed) == len(layer_paths(model)) - 2, "all but the two inputs"
    assert find_layer(model, "*/block_0_0_conv1") is find_layer(model, "block_0_0_conv1")


def test_a_role_is_the_student_all_teachers_or_one_of_them():
    recipe = small('teacher=[{name="cnn", id="small", width=2}, {name="cnn", id="large", width=4}]')
    roles = {role: {layer.role for layer in readable_layers(recipe, role)} for role in ("student", "teacher", "large")}
    assert roles == {"student": {"student"}, "teacher": {"small", "large"}, "large": {"large"}}
    with pytest.raises(UsageError, match=r"has student, small, large, teacher\. .*'larg'; did you mean 'large'"):
        readable_layers(recipe, "larg")


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        ("relu", "Layer 'relu' is called several times in a forward pass"),
        ("spare", "Layer 'spare' was not called in the forward pass"),
        ("pair", "Layer 'pair' gives a tuple, and a term reads one tensor"),
        ("heads", "has no layer 'heads'. Did you mean 'head'?"),
        ("body/*", "has several layers that 'body/*' matches: body/0, body/1."),
    ],
)
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_layer_that_a_torch_module_cannot_give_is_told_before_training(nets, role, layer, why):
    table = {"student": ["head"], "teacher": ["logits"], role: [layer]}
    if role == "teacher":
        table["student"] = ["logits"]
    recipe = nets(
        f'{role}={{name="torch_net"}}',
        *(["teacher.train.epochs=1"] if role == "teacher" else []),
        f'loss={{name="attention", student_layers={table["student"]}, teacher_layers={table["teacher"]}}}',
    )
    with pytest.raises(RunError) as caught:
        dry_run(recipe)
    assert why in str(caught.value)


def test_a_recipe_reads_layers_by_glob_inside_a_torch_module(nets):
    layers = 'student_layers=["bod*1"], teacher_layers=["*1b_relu"]'
    assert dry_run(nets('student={name="torch_net"}', f'loss={{name="attention", {layers}}}')) == 10


def test_the_command_prints_paths_and_shapes_or_one_object(call):
    options = ("digits", "--set", "student.depth=1", "--set", "student.width=3", "--role", "student")
    code, text, _ = call("list", "layers", *options)
    assert code == 0 and text.startswith("student\n") and "  stage1b_relu   (None, 8, 8, 3)\n" in text
    code, text, err = call("list", "layers", *options, "--json")
    rows = json.loads(text)["layers"]
    assert (code, err) == (0, "") and {"role": "student", "name": "pool", "shape": [None, 3]} in rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layers",), "Say which recipe's layers: `kdrecipes list layers RECIPE`."),
        (("models", "--role", "teacher"), "--role is for layers alone: `kdrecipes list layers RECIPE --role …`."),
        (("--set", "train.epochs=1"), "--set is for layers alone: `kdrecipes list layers RECIPE --set …`."),
        (("layers", "nowhere.toml"), "nowhere.toml"),
        (("layers", "digits", "--role", "techer"), "--role: the recipe has student, teacher. Received: 'techer'; did"),
    ],
)
def test_what_the_command_cannot_list_is_told_on_stderr(call, arguments, message):
    code, out, err = call("list", *arguments)
    assert (code, out) == (2, "") and message in err
