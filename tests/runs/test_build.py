"""What is built for a run, and the place in the recipe that a refusal names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from samples import short

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.fast import accelerate
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.build import build_distiller, inference
from kdrecipes.training.features import tapped

RECIPE = """
schema_version = 1
name = "m"
dataset.name = "digits"
teacher.name = "cnn"
student.name = "cnn"
loss.name = "kd"
train.epochs = 1
"""


def net(activation: str | None) -> keras.Model:
    pixels = keras.Input((4, 4, 1))
    return keras.Model(pixels, keras.layers.Dense(2, activation=activation)(keras.layers.Flatten()(pixels)))


@pytest.mark.parametrize(
    ("student", "teacher", "begin"),
    [(None, "softmax", "teacher: The teacher ends in a softmax"), ("softmax", None, "loss: The student ends in")],
)
def test_a_softmax_head_is_told_of_its_table(tmp_path, student, teacher, begin):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    data = SimpleNamespace(classes=["a", "b"], images=8)
    with pytest.raises(RunError) as caught:
        build_distiller(load_recipe(tmp_path / "recipe.toml"), data, net(student), {"cnn": net(teacher)})
    assert str(caught.value).startswith(begin)


def test_the_teacher_live_is_frozen_unless_its_layers_are_read():
    recipe, images = short(), torch.rand(16, 8, 8, 3) * 255
    teacher = accelerate(kdrecipes.component("model", "cnn").build(classes=5, image_size=8, width=4))
    assert inference(recipe, *recipe.teachers.values(), teacher)._logits.__module__ == "kdrecipes.fast.frozen"
    whole = inference(recipe, *recipe.teachers.values(), teacher, whole=True)
    with tapped({"logits": teacher.get_layer("logits")}) as features:
        logits = whole(images)
    assert torch.equal(features["logits"], logits)
