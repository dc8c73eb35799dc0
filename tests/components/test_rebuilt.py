"""A student whose file holds weights alone: its network is built anew, without the weights that it began with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes import saved_models
from kdrecipes.components.registry import load_registry
from kdrecipes.disk.saved_facts import SavedFacts, write_saved_facts
from kdrecipes.errors import RunError
from kdrecipes.torch_modules import as_keras

NET = """
import kdrecipes

def build(classes, image_size, begin):
    import numpy as np, torch
    net = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(3 * image_size**2, classes))
    if begin:
        net[1].weight.data[:] = torch.from_numpy(np.load(begin))
    return net

build.without_weights = lambda **options: options | {"begin": ""}

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "begun", build, {
        "type": "object", "additionalProperties": False, "properties": {
            "classes": {"type": "integer"}, "image_size": {"type": "integer"},
            "begin": {"type": "string", "description": "file of the first weights"}}})
"""
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)


@pytest.fixture
def student(tmp_path):
    """`student(plugin's code)` saves one whose first weights came from a file, removes that file and opens it."""

    def made(code):
        plugin, begin, file = tmp_path / "net.py", tmp_path / "begin.npy", tmp_path / "kd-0.safetensors"
        plugin.write_text(code)
        np.save(begin, np.full((2, 48), 0.5, np.float32))
        options = {"begin": str(begin)}
        build = load_registry((plugin,)).get("model", "begun").build
        model = as_keras(build(classes=2, image_size=4, **options), 2, 4)
        saved_models.save(model, file)
        write_saved_facts(file, SavedFacts(["a", "b"], 4, "squash", 4, "begun", options, "0" * 64, [0, 0, 0], 10**6))
        begin.unlink()
        with torch.no_grad():
            expected = model(torch.from_numpy(PIXELS)).numpy()
        return expected, lambda: kdrecipes.load_student(file, plugins=[plugin])

    return made


def test_a_student_opens_without_the_weights_that_it_began_with(student):
    expected, load = student(NET)
    np.testing.assert_allclose(load().logits(PIXELS), expected, rtol=1e-5)


def test_a_builder_that_does_not_know_how_is_asked_as_the_recipe_did(student):
    _, load = student(NET.replace("build.without_weights", "build.unknown"))
    with pytest.raises(RunError, match=r"can't be opened: .*begin\.npy"):
        load()
