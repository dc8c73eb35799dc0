"""A run whose distilled student is another network than the baseline's: SimKD's, with the teacher's classifier."""

import numpy as np
import pytest
from samples import short

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.components.exporters.found import exporter_named

LOSS = 'loss={name="simkd", label_weight=0}'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Its folder and report."""
    folder = tmp_path_factory.mktemp("simkd") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        return folder, kdrecipes.run(short(LOSS), folder)


def test_each_arm_has_the_parameters_of_the_network_that_it_saved(run):
    folder, report = run
    saved = {arm["arm"]: keras.saving.load_model(folder / arm["student"]) for arm in report["arms"]}
    for arm in report["arms"]:
        assert arm["params"] == saved[arm["arm"]].count_params()
    names = {arm: {layer.name for layer in model.layers} for arm, model in saved.items()}
    assert "logits" in names["baseline"] and not any("simkd" in name for name in names["baseline"])
    assert {"simkd_features", "simkd_classifier"} <= names["kd"] and "logits" not in names["kd"]


def test_its_classifier_is_the_tuned_teachers(run):
    folder, _ = run
    teacher = keras.saving.load_model(folder / "teachers" / "cnn.keras")
    student = keras.saving.load_model(folder / "students" / "kd-0.keras")
    for mine, theirs in zip(
        student.get_layer("simkd_classifier").weights, teacher.get_layer("logits").weights, strict=True
    ):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_the_saved_student_is_opened_by_the_run_and_answers_as_there(run):
    folder, _ = run
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    student = kdrecipes.load_student(folder)
    probabilities = student.predict(images)
    assert probabilities.shape == (3, 10) and student.model.get_layer("simkd_classifier")
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_it_is_exported_to_onnx_and_answers_alike(run):
    exporter, file = exporter_named("onnx", {}), run[0] / "kd.onnx"
    model = kdrecipes.load_student(run[0]).model
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    exporter.export(model, file, images, [str(i) for i in range(10)])
    np.testing.assert_allclose(
        exporter.load(file)(images), keras.ops.convert_to_numpy(model(images)), rtol=1e-3, atol=1e-3
    )
