"""A run whose distilled student is another network than the baseline's: SimKD's, with the teacher's classifier."""

import html
import warnings

import numpy as np
import pytest
import torch
from samples import read_back_here, short

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.components.exporters.found import exporter_named
from kdrecipes.disk.saved_facts import read_saved_facts
from kdrecipes.errors import RunError, UsageError
from kdrecipes.losses import SimKD
from kdrecipes.report.build import rebuild_report
from kdrecipes.runs.build import build_distiller, build_model
from kdrecipes.runs.export import export
from kdrecipes.runs.reopened import data_of
from kdrecipes.torch_modules import as_keras

LOSS = 'loss={name="simkd", label_weight=0}'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Its folder and report."""
    folder = tmp_path_factory.mktemp("simkd") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # that the student is another network is told to scripts alone
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


SAID = f"The distilled student is {SimKD.network}, so its parameters are not the plain student's."


def test_files_card_page_and_report_say_what_the_network_is(run):
    folder, report = run
    facts = {arm: read_saved_facts(folder / "students" / f"{arm}-0.keras") for arm in ("kd", "baseline")}
    assert (facts["kd"].network, facts["baseline"].network) == (SimKD.network, "")
    assert [arm.get("network") for arm in report["arms"]] == [None, SimKD.network]
    card, page = ((folder / name).read_text(encoding="utf-8") for name in ("MODEL_CARD.md", "report.html"))
    assert SAID in card and SAID in html.unescape(page)
    assert "In every step the teacher ran as well, for what layers give" in card
    assert rebuild_report(folder) == report


def test_it_is_not_exported_as_weights_alone(run):
    with pytest.raises(RunError, match=r'no component builds this network: the student with .*"keras" or "onnx"'):
        export(run[0], "safetensors")
    assert not list((run[0] / "export").glob("kd-0*"))
    with read_back_here():
        export(run[0], "safetensors", arm="baseline")
        assert export(run[0], "keras").largest_difference == 0


def test_a_file_of_its_weights_alone_is_refused(run, tmp_path):
    file = tmp_path / "kd-0.safetensors"
    student = kdrecipes.load_student(run[0])
    exporter_named("safetensors", {}).export(student.model, file, np.zeros((2, 8, 8, 3), np.float32), student.classes)
    (tmp_path / "kd-0.json").write_text((run[0] / "students" / "kd-0.json").read_text())
    with pytest.raises(UsageError, match="weights alone, of a network that no component builds: the student with"):
        kdrecipes.load_student(file)


@pytest.mark.slow
def test_it_is_exported_to_onnx_and_answers_alike(run):
    exporter, file = exporter_named("onnx", {}), run[0] / "kd.onnx"
    model = kdrecipes.load_student(run[0]).model
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    exporter.export(model, file, images, [str(i) for i in range(10)])
    np.testing.assert_allclose(
        exporter.load(file)(images), keras.ops.convert_to_numpy(model(images)), rtol=1e-3, atol=1e-3
    )


def test_a_torch_module_in_the_students_place_is_refused_before_it_is_trained(run, monkeypatch):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8 * 8 * 3, 10))
    monkeypatch.setattr(SimKD, "meet", lambda self, student, teacher: as_keras(network, 10, 8))
    recipe = short(LOSS)
    data = data_of(run[0], recipe, lambda *told: None)
    student, teacher = (build_model(recipe, one, data) for one in (recipe.student, recipe.teachers["cnn"]))
    with pytest.raises(RunError, match="loss: a torch module was put in the student's place"):
        build_distiller(recipe, data, student, {"cnn": teacher})
