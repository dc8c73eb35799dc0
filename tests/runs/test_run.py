"""Whole runs on scikit-learn's digits: what they leave, and what a recipe can ask of them."""

import json
import os
import shutil

import numpy as np
import pytest
from charts import draw_charts
from samples import EPOCHS, SMALL, small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.disk.cache import entries
from kdrecipes.report.build import check_report
from kdrecipes.report.table import summary_text
from kdrecipes.runs import run as runs
from kdrecipes.training import fit as training


def test_run_folder_holds_what_the_design_names(finished):
    folder, report = finished
    for name in (
        "lock.json",
        "status.json",
        "recipe.toml",
        "history.jsonl",
        "predictions.npz",
        "report.json",
        "report.html",
        "figures/validation_accuracy.svg",
        "figures/term_kd.png",
        "MODEL_CARD.md",
        "log.txt",
        "students/baseline-0.keras",
        "students/kd-0.keras",
    ):
        assert (folder / name).is_file(), name
    assert json.loads((folder / "status.json").read_text())["status"] == "done"
    assert json.loads((folder / "report.json").read_text()) == report
    lock = json.loads((folder / "lock.json").read_text())
    assert lock["recipe_sha256"] == report["recipe_sha256"] == small().fingerprint
    assert lock["origin"]["dataset_sha256"] == report["dataset"]["fingerprint"]
    assert lock["origin"]["components"]["model cnn"] == "built-in"


def test_report_fits_its_schema_and_says_what_was_run(finished):
    _, report = finished
    check_report(report)
    assert report["dataset"]["test"] == 360
    assert [(arm["arm"], arm["seed"]) for arm in report["arms"]] == [("baseline", 0), ("kd", 0)]
    baseline, kd = report["arms"]
    assert baseline["steps"] == kd["steps"] == 2 * (report["dataset"]["train"] // 32)
    assert baseline["params"] == kd["params"] < report["teachers"][0]["params"]
    assert len(kd["validation_accuracy"]) == 2
    assert report["comparison"]["kd_minus_baseline"]["mean"] == pytest.approx(
        kd["test_accuracy"] - baseline["test_accuracy"]
    )


def test_what_a_run_used_of_the_cache_notes_its_recipe(finished, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(finished[0].parent / "home"))
    kept = entries()
    assert {entry.kind for entry in kept} == {"stores", "teachers", "outputs"}
    assert {entry.served for entry in kept} == {("digits",)}


def test_history_has_a_line_for_each_arm_and_epoch(finished):
    folder, _ = finished
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(row["arm"], row["epoch"]) for row in rows] == EPOCHS
    assert {"loss", "label_loss", "kd", "accuracy", "val_accuracy", "val_loss"} <= rows[-1].keys()


def test_finished_run_prints_its_report_again_without_training(finished, monkeypatch):
    folder, report = finished
    monkeypatch.setattr(runs, "straight_line", lambda *a: pytest.fail("a finished run trained again"))
    assert kdrecipes.run(small(), folder) == report


@pytest.mark.slow
def test_report_is_made_again_from_the_folder_to_the_byte(finished, tmp_path, call):
    folder, report = finished
    draw_charts(True)  # as when it was made at first
    shutil.copytree(folder, tmp_path / "copy")
    names = ("report.json", "report.html", "MODEL_CARD.md")
    for name in names:
        (tmp_path / "copy" / name).unlink()
    code, out, _ = call("report", tmp_path / "copy")
    assert (code, out) == (0, summary_text(report) + "\n")
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_same_recipe_gives_the_same_result(finished, tmp_path, monkeypatch):
    folder, report = finished
    monkeypatch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
    again = kdrecipes.run(small(), tmp_path / "again")
    for label in ("baseline-0", "kd-0"):
        for a, b in zip(student_arrays(folder, label), student_arrays(tmp_path / "again", label), strict=True):
            np.testing.assert_array_equal(a, b)
    assert again["teachers"][0]["reused"] and not report["teachers"][0]["reused"]
    assert again["teachers"][0]["sha256"] == report["teachers"][0]["sha256"]


def test_run_without_a_teacher_trains_the_labels_only_arm(tmp_path):
    text = "\n".join(
        [
            "schema_version = 1",
            'name = "alone"',
            "[dataset]",
            'name = "digits"',
            'train = "train[:320]"',
            "validation = 0.2",
            "[student]",
            'name = "cnn"',
            "width = 3",
            "[train]",
            "epochs = 1",
            "batch_size = 32",
            "[report]",
            "measure = false",
        ]
    )
    (tmp_path / "alone.toml").write_text(text)
    report = kdrecipes.run(kdrecipes.load_recipe(tmp_path / "alone.toml"), tmp_path / "run")
    assert [arm["arm"] for arm in report["arms"]] == ["baseline"]
    assert report["teachers"] == [] and report["comparison"] is None
    assert "agreement" not in report["arms"][0]
    assert "student, labels only" in summary_text(report)


@pytest.mark.slow
def test_json_twin_gives_the_same_result(finished, tmp_path):
    folder, _ = finished
    twin = os.path.join(os.path.dirname(__file__), "..", "..", "recipes", "digits.json")
    recipe = kdrecipes.load_recipe(twin, SMALL)
    assert recipe.fingerprint == small().fingerprint
    kdrecipes.run(recipe, tmp_path / "twin")
    assert (tmp_path / "twin" / "recipe.json").is_file()
    for a, b in zip(student_arrays(folder, "kd-0"), student_arrays(tmp_path / "twin", "kd-0"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_callbacks_are_attached_to_every_arm(tmp_path):
    run = tmp_path / "run"
    kdrecipes.run(small('callbacks=[{name="csv_log"}]', "train.epochs=2"), run)
    for label in ("baseline-0", "kd-0"):
        assert len((run / f"{label}.csv").read_text().splitlines()) == 3
    assert not (run / "teacher-0.csv").exists()


@pytest.mark.slow
def test_hint_with_projector_trains_from_a_recipe(tmp_path):
    recipe = small(
        'loss={label_weight=1.0, terms=[{name="kd", weight=0.5}, {name="hint", student_layers=["stage1b_relu"], '
        'teacher_layers=["stage1b_relu"], projector="linear"}]}',
        "train.epochs=1",
    )
    report = kdrecipes.run(recipe, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert {"kd", "hint_projected"} <= rows[-1].keys()
    assert report["arms"][0]["params"] == report["arms"][1]["params"]


# --- another size for the teacher -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_teacher_and_student_have_sizes_of_their_own(tmp_path, home, cache):
    """Each network is only ever shown images of its size; live and cached teachers teach alike."""
    seen = {}

    def watching(label, distiller, loader, callbacks):
        sizes = seen.setdefault("teacher" if label == "teacher" else "student", set())
        sizes |= {distiller.student.input_shape[1], loader.size}

    recipe = small(
        "teacher.image_size=12", "student.image_size=6", f'teacher.cache="{cache}"', "dataset.views.flip=true"
    )
    with training.observed(watching):
        report = kdrecipes.run(recipe, tmp_path / "run")
    assert seen == {"teacher": {12}, "student": {6}}
    check_report(report)
    students = tmp_path / "run" / "students"
    assert keras.models.load_model(students / "kd-0.keras", compile=False).input_shape == (None, 6, 6, 3)


@pytest.mark.slow
def test_features_of_a_teacher_of_another_size_are_of_its_images(tmp_path):
    terms = '[{name="hint", student_layers=["logits"], teacher_layers=["logits"]}, {name="kd"}]'
    recipe = small("teacher.image_size=12", f"loss={{terms={terms}}}")
    kdrecipes.run(recipe, tmp_path / "run")
