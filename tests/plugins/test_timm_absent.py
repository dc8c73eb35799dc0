"""The plugin kdrecipes-timm where timm is not installed: recipes are checked, and a network says what is missing."""

from __future__ import annotations

import sys

import pytest

import kdrecipes
from kdrecipes.errors import EnvironmentProblem, RecipeError

pytest.importorskip("kdrecipes_timm", reason="kdrecipes-timm is not installed here")
LINE = "`pip install 'kdrecipes-timm[timm]'`"


@pytest.fixture
def no_timm(monkeypatch):
    """As if neither timm nor torchvision were there."""
    monkeypatch.setitem(sys.modules, "timm", None)


def text_of_error(tmp_path, table):
    text = f'schema_version = 1\nname = "t"\n[dataset]\nname = "digits"\n[student]\nname = "timm"\n{table}\n'
    (tmp_path / "t.toml").write_text(f"{text}[loss]\n[train]\nepochs = 1\nbatch_size = 4\n[compare]\nbaseline = true\n")
    with pytest.raises(RecipeError) as caught:
        kdrecipes.load_recipe(tmp_path / "t.toml")
    return str(caught.value)


def test_a_network_without_timm_says_how_to_install_it(no_timm):
    with pytest.raises(EnvironmentProblem) as caught:
        kdrecipes.component("model", "timm").build(classes=10, image_size=32, model="resnet26d")
    assert str(caught.value) == f"The model timm needs timm, which is not installed. Install it: {LINE}"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["fashion_mnist_timm", "food101_b0_timm", "food101_b3_timm"])
def test_the_notebooks_recipes_are_valid_without_timm(no_timm, name):
    recipe = kdrecipes.load_recipe(f"seed/{name}")
    assert (recipe.student.name, [one.name for one in recipe.teachers.values()]) == ("timm", ["timm"])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('model = "a/b"', "must be a name of timm's"),
        ('model = "resnet26d"\npretrained = 1', "must be true, false or a .safetensors file"),
        ('model = "resnet26d"\ndrop_path = 1', "drop_path"),
        ('model = "resnet26d"\ndroprate = 0.1', 'did you mean "drop_rate"?'),
        ("", "model"),
    ],
)
def test_options_are_checked_without_timm(no_timm, tmp_path, table, words):
    assert words in text_of_error(tmp_path, table)


@pytest.mark.parametrize(
    ("pretrained", "again"),
    [
        ({}, False),
        ({"pretrained": True}, False),
        ({"pretrained": False}, False),
        ({"pretrained": "/runs/mine/students/kd-0.safetensors"}, False),
        ({"pretrained": "/hub/model.safetensors"}, "/hub/model.safetensors"),  # config.json beside it tells of pixels
    ],
)
def test_a_saved_network_is_built_anew_without_the_weights_that_it_began_with(no_timm, pretrained, again):
    options = {"model": "resnet26d", "drop_path": 0.1}
    build = kdrecipes.component("model", "timm").build
    assert build.without_weights(**options, **pretrained) == {**options, "pretrained": again}
