"""What is built for a run, and the place in the recipe that a refusal names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.build import build_distiller

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
    data = SimpleNamespace(classes=["a", "b"], train=[0] * 8)
    with pytest.raises(RunError) as caught:
        build_distiller(load_recipe(tmp_path / "recipe.toml"), data, net(student), net(teacher))
    assert str(caught.value).startswith(begin)
