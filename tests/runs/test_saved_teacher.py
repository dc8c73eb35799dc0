"""A fine-tuned teacher in the run folder: it teaches in another recipe as it did in its own."""

import json

import numpy as np
import pytest
from samples import short, small

import kdrecipes
from kdrecipes import saved_models

# One epoch makes no good teacher.
QUICK = ['teacher.preflight="warn"']


def test_it_is_saved_with_its_class_names_and_is_the_teacher_that_taught(finished):
    folder, report = finished
    saved = kdrecipes.load_student(folder / "teachers" / "cnn.keras")
    assert saved.classes == report["dataset"]["class_names"] and saved.image_size == 8
    source = kdrecipes.component("dataset", "digits").build(split="test")
    with np.load(folder / "predictions.npz") as found:
        probabilities = saved.predict([source[i]["image"] for i in found["index"]])
        np.testing.assert_array_equal(probabilities.argmax(1), found["cnn"].argmax(1))
    assert json.loads((folder / "teachers" / "cnn.json").read_text())["options"]["width"] == 8


@pytest.mark.slow
def test_it_teaches_in_another_recipe_as_it_did_in_its_own(finished, tmp_path, home):
    folder, first = finished
    path = folder / "teachers" / "cnn.keras"
    recipe = small(f'teacher={{name="keras_file", path="{path}"}}', "dataset.views.flip=true", "train.epochs=1")
    [teacher] = kdrecipes.run(recipe, tmp_path / "run")["teachers"]
    assert teacher["sha256"] == first["teachers"][0]["sha256"]
    assert teacher["test_accuracy"] == first["teachers"][0]["test_accuracy"]
    assert not (tmp_path / "run" / "teachers").exists(), "weights that are used as they are have a file already"


@pytest.mark.slow
def test_each_of_several_has_a_file_of_its_own_size_by_its_id(tmp_path, home):
    one, other = 'id="a.b", name="cnn", image_size=12', 'name="cnn", save=false'
    tables = ", ".join(f'{{{table}, width=4, preflight="warn", train={{}}}}' for table in (one, other))
    few = ['dataset.train="train[:320]"', "dataset.validation=0.2", "student.width=3", "train.epochs=1"]
    recipe = kdrecipes.load_recipe("digits", [*few, f"teacher=[{tables}]", "report.measure=false"])
    kdrecipes.run(recipe, tmp_path / "run")
    assert sorted(file.name for file in (tmp_path / "run" / "teachers").iterdir()) == ["a.b.json", "a.b.keras"]
    assert kdrecipes.load_student(tmp_path / "run" / "teachers" / "a.b.keras").image_size == 12


@pytest.mark.slow
def test_save_false_leaves_it_out_and_a_teacher_from_an_earlier_run_is_saved_too(tmp_path, home):
    kdrecipes.run(short(*QUICK, "teacher.save=false"), tmp_path / "without")
    assert not (tmp_path / "without" / "teachers").exists()
    report = kdrecipes.run(short(*QUICK), tmp_path / "with")
    assert report["teachers"][0]["reused"]
    assert (tmp_path / "with" / "teachers" / "cnn.keras").is_file()


def test_save_counts_in_the_fingerprint_only_where_it_is_not_the_default():
    assert small("teacher.save=true").fingerprint == small().fingerprint != small("teacher.save=false").fingerprint


@pytest.mark.slow
def test_overwrite_removes_it(tmp_path, home):
    kdrecipes.run(short(*QUICK), tmp_path / "run")
    kdrecipes.run(short(*QUICK, "teacher.save=false"), tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "teachers").exists()


@pytest.mark.slow
def test_a_teacher_that_keras_cannot_write_teaches_all_the_same(tmp_path, home, monkeypatch):
    real = saved_models.save

    def save(model, path):
        if path.name == "cnn.keras":
            raise NotImplementedError("Object Odd was created by passing non-serializable argument values")
        real(model, path)

    monkeypatch.setattr(saved_models, "save", save)
    assert kdrecipes.run(short(*QUICK), tmp_path / "run")["status"] == "done"
    assert list(tmp_path.glob("run/teachers/*")) == []
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "teacher: not saved in" in log and "Keras can't write it: NotImplementedError: Object Odd" in log
