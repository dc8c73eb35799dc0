"""A run in half precision, and one in stock Keras: what is asked for, and what is saved."""

import numpy as np
import pytest
from samples import short

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.training.fit import observed
from kdrecipes.training.inference import Inference


@pytest.mark.parametrize("key", ["train", "teacher", "teacher.train"])
def test_float16_is_refused_without_a_gpu(key, tmp_path):
    with pytest.raises(RunError, match=rf'{key}.precision = "float16" needs a CUDA GPU; .* Use "bfloat16"'):
        kdrecipes.run(short("teacher.train.precision='float32'", f"{key}.precision='float16'"), tmp_path / "run")


def test_a_run_does_not_begin_under_another_policy_than_the_recipe_s(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(EnvironmentProblem, match="global policy is mixed_bfloat16"):
            kdrecipes.run(short(), tmp_path / "run")
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_a_run_in_half_precision_saves_and_reports_a_float32_student(tmp_path):
    recipe = short("train.precision='bfloat16'", "teacher.precision='bfloat16'", "teacher.train.precision='float32'")
    report = kdrecipes.run(recipe, tmp_path / "run")
    stored = np.load(tmp_path / "run" / "predictions.npz")
    data = prepare(recipe)
    for arm in report["arms"]:
        saved = keras.models.load_model(tmp_path / "run" / arm["student"], compile=False, safe_mode=True)
        assert saved.dtype_policy.name == "float32"
        assert {layer.dtype_policy.name for layer in saved.layers} == {"float32"}
        images = data.test.store.images[data.test.positions].astype("float32")
        logits = keras.ops.convert_to_numpy(saved(images, training=False))
        np.testing.assert_allclose(logits, stored[f"{arm['arm']}-{arm['seed']}"], rtol=1e-5, atol=1e-5)
        assert arm["test_accuracy"] == (logits.argmax(1) == stored["labels"]).mean()


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
def test_fast_false_runs_stock_keras(tmp_path, monkeypatch, fast):
    """In no fit, and nowhere where a network is asked for logits, does anything hold a function of the fast path."""
    taken, call = set(), Inference.__call__

    def look(name, *holders):
        values = [value for holder in holders for value in vars(holder).values()]
        if any(str(getattr(value, "__module__", "")).startswith("kdrecipes.fast") for value in values):
            taken.add(name)

    def asked(self, image):
        look("inference", self)
        return call(self, image)

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            look("optimizer", self.model.optimizer)

    def watching(label, distiller, loader, callbacks):
        look("model", *distiller.student._flatten_layers())
        callbacks.append(Watch())

    monkeypatch.setattr(Inference, "__call__", asked)
    with observed(watching):
        kdrecipes.run(short(f"train.fast={str(fast).lower()}"), tmp_path / "run")
    assert taken == ({"inference", "model", "optimizer"} if fast else set())
