"""What is built for a run, and the place in the recipe that a refusal names."""

from __future__ import annotations

import pytest
import torch
from samples import short

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.fast import accelerate
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.build import build_terms, inference
from kdrecipes.runs.pixel_contract import check_network
from kdrecipes.testing.contract import data_of
from kdrecipes.torch_modules import as_keras
from kdrecipes.training.features import tapped
from kdrecipes.training.last_activation import EndsInProbabilities, refuse_probabilities

RECIPE = """
schema_version = 1
name = "m"
dataset.name = "digits"
teacher.name = "cnn"
student.name = "cnn"
loss.name = "kd"
train.epochs = 1
"""


def net(activation: str | None = None, classes: int = 2, shape: tuple[int, ...] = (4, 4, 3)) -> keras.Model:
    pixels = keras.Input(shape)
    return keras.Model(pixels, keras.layers.Dense(classes, activation=activation)(keras.layers.Flatten()(pixels)))


@pytest.fixture
def told(tmp_path):
    """`told(role, model)`: what is said of a model of two classes in that table; `saved`: it is a keras_file."""

    def told(role, model, *, saved=False):
        (tmp_path / "recipe.toml").write_text(RECIPE)
        change = [f'{role}={{name="keras_file", path="net.keras"}}'] if saved else []
        recipe = load_recipe(tmp_path / "recipe.toml", change)
        (teacher,) = recipe.teachers.values()
        try:
            check_network(recipe, teacher if role == "teacher" else recipe.student, model, 2, 4)
        except RunError as error:
            return str(error)
        return ""

    return told


def test_a_term_with_layers_of_its_own_takes_no_projector(tmp_path, monkeypatch):
    monkeypatch.delattr(kdrecipes.losses.VID, "takes_layers")  # as a plugin's, which declares nothing
    (tmp_path / "recipe.toml").write_text(RECIPE)
    term = 'loss={name="vid", student_layers=["pool"], teacher_layers=["pool"], projector="linear"}'
    recipe = load_recipe(tmp_path / "recipe.toml", [term])
    with pytest.raises(RunError, match=r"^loss.projector: 'vid' maps features by layers of its own; leave it out\.$"):
        build_terms(recipe, data_of(3, examples=8))


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_told_of_their_table_and_role(told, role, activation):
    assert told(role, net(activation)).startswith(f"{role}: The {role} ends in a {activation} ('dense")
    assert 'head = "new"' not in told(role, net(activation))
    assert 'Or: head = "new" in its table' in told(role, net(activation), saved=True)


def test_a_softmax_inside_a_torch_module_is_found():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2), torch.nn.Softmax(-1))
    with pytest.raises(EndsInProbabilities, match="softmax"):
        refuse_probabilities(as_keras(module, 2, 4), "teacher")


class Own(torch.nn.Module):
    """A `forward` of its own, which no layer of it tells."""

    def __init__(self, end):
        super().__init__()
        self.dense, self.end = torch.nn.Linear(48, 2), end

    def forward(self, pixels):
        return self.end(self.dense(pixels.flatten(1)))


@pytest.mark.parametrize(
    ("end", "activation"),
    [
        (lambda x: x.softmax(-1), "softmax"),
        (torch.sigmoid, "sigmoid"),
        (lambda x: x.softmax(-1).clone().reshape(-1, 2), "softmax"),
        (lambda x: x, ""),
        (lambda x: x.log_softmax(-1), ""),  # these are logits
        (lambda x: x * x.sigmoid(), ""),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_what_a_torch_module_computes_last_is_found_in_its_first_pass(told, end, activation, frozen):
    said = told("student", as_keras(Own(end).requires_grad_(not frozen), 2, 4))
    assert said.startswith(f"student: The student ends in a {activation} ('Own')") if activation else not said


def test_a_subclassed_model_is_asked_too(told):
    class Late(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.flat = keras.layers.Dense(2), keras.layers.Flatten()

        def call(self, pixels):
            return keras.ops.softmax(self.dense(self.flat(pixels)))

    model = Late()
    model.build((None, 4, 4, 3))
    inputs = keras.Input((4, 4, 3))
    assert "The teacher ends in a softmax ('Late')" in told("teacher", keras.Model(inputs, model(inputs)))


def test_a_torch_module_of_channels_first_is_told_to_permute():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(ValueError, match=r"takes channels first.*pixels = pixels\.permute\(0, 3, 1, 2\)"):
        as_keras(module, 2, 8)
    assert module.training, "as it was"


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 4, 4), "takes channels first, (None, 3, 4, 4); a run gives every network RGB pixels"),
        ((4, 4, 2), "takes images of 2 channels, (None, 4, 4, 2)"),
        ((48,), "takes (None, 48); a run gives every network RGB pixels"),
        ((4, 4, 3), ""),
        ((4, 4, None), ""),
    ],
)
def test_an_input_that_takes_no_pixels_is_said_with_what_to_do(told, shape, said):
    pixels = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(pixels) if None in shape else keras.layers.Flatten()(pixels)
    text = told("teacher", keras.Model(pixels, x[:, :1] * keras.ops.ones((1, 2))), saved=True)
    assert said in text and bool(text) == bool(said)
    if said:
        assert text.startswith("teacher: 'keras_file' takes")


def test_several_inputs_are_said(told):
    a, b = keras.Input((4, 4, 3)), keras.Input((2,))
    assert "takes several inputs" in told("teacher", keras.Model([a, b], b))


def test_another_number_of_classes_is_said_with_what_helps(told):
    assert told("teacher", net(classes=9), saved=True).endswith(
        'Put a new head on it: head = "new" in its table replaces its last layer by one of 2 outputs, and train it: '
        "[teacher.train]."
    )
    assert told("student", net(classes=9), saved=True).endswith("replaces its last layer by one of 2 outputs.")
    assert "tell who provides it (kdrecipes)" in told("teacher", net(classes=9))


def test_one_output_for_two_classes_is_said_with_the_two_logits_that_say_the_same(told):
    said = told("teacher", net(classes=1))
    assert "has 1 outputs and the dataset 2 classes" in said and "keras.ops.concatenate([0 * z, z], -1)" in said


def test_the_teacher_live_is_frozen_unless_its_layers_are_read():
    recipe, images = short(), torch.rand(16, 8, 8, 3) * 255
    teacher = accelerate(kdrecipes.component("model", "cnn").build(classes=5, image_size=8, width=4))
    assert inference(recipe, *recipe.teachers.values(), teacher)._logits.__module__ == "kdrecipes.fast.frozen"
    whole = inference(recipe, *recipe.teachers.values(), teacher, whole=True)
    with tapped({"logits": teacher.get_layer("logits")}) as features:
        logits = whole(images)
    assert torch.equal(features["logits"], logits)
