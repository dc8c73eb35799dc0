"""A torch module as student: trained, resumed and saved like a Keras model, in a file that is safe to read."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from samples import small

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.training.fit import observed

CODE = """
import kdrecipes


def build(classes, image_size, width=6):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2))
            self.head = nn.Linear(width, classes)

        def forward(self, pixels):
            return self.head(self.body(pixels.permute(0, 3, 1, 2) / 255).mean((2, 3)))

    return Net()


@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "torch_net", build, {
        "type": "object", "additionalProperties": False, "properties": {
            "classes": {"type": "integer"}, "image_size": {"type": "integer"},
            "width": {"type": "integer", "minimum": 1, "default": 6, "description": "channels"}}})
"""
NET = ['student={name="torch_net"}', "teacher.train.epochs=1"]


@pytest.fixture
def load(tmp_path, home):
    (tmp_path / "net.py").write_text(CODE)
    return lambda *more: small(*NET, *more, plugins=[tmp_path / "net.py"])


def arrays(folder, label):
    return load_file(folder / "students" / f"{label}.safetensors")


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_it_is_trained_saved_and_measured_from_its_file(load, tmp_path):
    report = kdrecipes.run(load("train.recalibrate_batch_norm=0"), tmp_path / "run")
    assert [arm["student"] for arm in report["arms"]] == [
        "students/baseline-0.safetensors",
        "students/kd-0.safetensors",
    ]
    assert report["arms"][0]["params"] == 6 * 27 + 6 + 12 + 60 + 10
    student = arrays(tmp_path / "run", "kd-0")
    assert student["body.1.num_batches_tracked"] == 16, "two epochs of 8 steps, and none in the rehearsal or validation"
    assert not same(student, arrays(tmp_path / "run", "baseline-0"))
    spec = importlib.util.spec_from_file_location("net", tmp_path / "net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.build(10, 8).eval()
    net.load_state_dict(student)
    from kdrecipes.components.datasets.digits import build

    source = build("test")
    pixels = torch.tensor(np.stack([source[i]["image"] for i in range(20)]).astype("float32"))
    with torch.no_grad():
        logits = net(pixels.expand(-1, -1, -1, 3))
    expected = np.load(tmp_path / "run" / "predictions.npz")["kd-0"][:20]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["train.ema=0.9", "train.recalibrate_batch_norm=2"]])
def test_a_resumed_student_is_the_uninterrupted_one(load, tmp_path, options):
    recipe = load(*options)
    kdrecipes.run(recipe, tmp_path / "whole")

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.value >= 11:
                raise KeyboardInterrupt

    def stopping(label, distiller, loader, callbacks):
        if label == "kd-0":
            callbacks.append(Stop())

    with observed(stopping), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(recipe, tmp_path / "run")
    kdrecipes.run(recipe, tmp_path / "run")
    for label in ("baseline-0", "kd-0"):
        assert same(arrays(tmp_path / "whole", label), arrays(tmp_path / "run", label))


def test_half_precision_leaves_float32_weights(load, tmp_path):
    kdrecipes.run(load('train.precision="bfloat16"', "train.epochs=1", "compare.baseline=false"), tmp_path / "run")
    floats = {array.dtype for name, array in arrays(tmp_path / "run", "kd-0").items() if "num" not in name}
    assert floats == {torch.float32}


def test_the_head_of_a_module_is_not_guessed(load, tmp_path):
    with pytest.raises(RunError, match="which layer of a torch module is its head can't be told"):
        kdrecipes.run(load("train.head_learning_rate_factor=10"), tmp_path / "run")


def test_a_module_that_cannot_be_read_back_is_told_before_it_is_trained(load, tmp_path):
    code = CODE.replace("return Net()", "build.times = getattr(build, 'times', 0) + 1\n    net = Net()\n    "
                        "net.extra = nn.Linear(build.times, 1)\n    return net")  # fmt: skip
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(RunError, match=r"student: 'net' can't be saved and loaded again as a \.safetensors file"):
        kdrecipes.run(load(), tmp_path / "run")
    assert not (tmp_path / "run" / "students").exists()
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"
