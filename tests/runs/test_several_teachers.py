"""Runs of several teachers: each prepared, checked, asked and reported by its id, and all of them together."""

import json

import numpy as np
import pytest
from samples import small
from scipy.special import log_softmax, logsumexp

import kdrecipes
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError, UsageError
from kdrecipes.report.build import check_report
from kdrecipes.report.table import summary_text
from kdrecipes.runs import run as runs
from kdrecipes.runs.dry_run import dry_run
from kdrecipes.runs.predictions import write_predictions
from kdrecipes.runs.teacher import prepare_teacher
from kdrecipes.training import fit as training
from kdrecipes.training.inference import Inference

FIRST = '{name="cnn", width=8, train={epochs=2}}'
OTHER = '{id="other", name="cnn", width=10, weight=3, image_size=12, train={epochs=3}}'


def several(*more, teachers=(FIRST, OTHER)):
    return small(f"teacher=[{', '.join(teachers)}]", "train.epochs=1", *more)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A finished run of two teachers: its folder and report."""
    folder = tmp_path_factory.mktemp("both") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        return folder, kdrecipes.run(several(), folder)


def stored(folder):
    with np.load(folder / "predictions.npz", allow_pickle=False) as found:
        return dict(found)


# ---- what they leave


def test_each_teacher_is_reported_and_all_of_them_together(both):
    folder, report = both
    check_report(report)
    found = stored(folder)
    cnn, other = report["teachers"]
    assert [(t["id"], t["component"]) for t in (cnn, other)] == [("cnn", "cnn"), ("other", "cnn")]
    for teacher in (cnn, other):
        right = found[teacher["id"]].argmax(1) == found["labels"]
        assert teacher["test_accuracy"] == right.mean() and teacher["seconds"]["outputs"] > 0
        agreement = (found[teacher["id"]].argmax(1) == found["ensemble"].argmax(1)).mean()
        assert teacher["agreement"] == agreement
    assert report["ensemble"]["test_accuracy"] == (found["ensemble"].argmax(1) == found["labels"]).mean()
    kd = report["arms"][1]
    assert kd["agreement"] == (found["kd-0"].argmax(1) == found["ensemble"].argmax(1)).mean()
    difference = kd["test_accuracy"] - report["ensemble"]["test_accuracy"]
    assert report["comparison"]["kd_minus_teacher"]["mean"] == pytest.approx(difference)
    assert "teacher other (cnn)" in summary_text(report) and "all 2 teachers together" in summary_text(report)
    assert "all 2 teachers together" in (folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["probabilities", "logits"])
def test_the_ensemble_is_the_one_computed_by_hand(both, tmp_path, monkeypatch, how):
    folder, _ = both
    if how == "logits":
        monkeypatch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        folder = tmp_path / "run"
        kdrecipes.run(several('loss={name="kd", teachers="logits"}', "compare.baseline=false"), folder)
    found = stored(folder)
    cnn, other = (found[name].astype(np.float64) for name in ("cnn", "other"))
    if how == "logits":
        expected = (cnn + 3 * other) / 4
    else:
        parts = [log_softmax(cnn, axis=1) + np.log(1 / 4), log_softmax(other, axis=1) + np.log(3 / 4)]
        expected = logsumexp(parts, axis=0)
    assert found["ensemble"].dtype == np.float32
    np.testing.assert_allclose(found["ensemble"], expected, rtol=1e-5, atol=1e-5)


def test_the_files_name_each_teacher(both):
    folder, _ = both
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(row["teacher"], row["seed"], row["epoch"]) for row in rows if row["arm"] == "teacher"] == [
        ("cnn", 0, 1),
        ("cnn", 0, 2),
        ("other", 1, 1),
        ("other", 1, 2),
        ("other", 1, 3),
    ]
    assert not any("teacher" in row for row in rows if row["arm"] != "teacher")
    decisions = json.loads((folder / "lock.json").read_text())["decisions"]
    uses = {name: one["use"] for name, one in decisions["teacher_outputs"].items()}
    assert uses == {"cnn": "cached", "other": "cached"}
    assert set(decisions["compile"]) == {"teacher cnn", "teacher other", "student"}
    log = (folder / "log.txt").read_text()
    assert "teacher other  epoch 3/3" in log and "teacher cnn outputs: 266 views" in log
    status = json.loads((folder / "status.json").read_text())
    assert {"outputs_seconds of cnn", "outputs_seconds of other"} <= set(status)


def test_predictions_say_which_images_they_are_of(both):
    found, data = stored(both[0]), prepare(several())
    assert list(found)[:3] == ["labels", "index", "names"]
    np.testing.assert_array_equal(found["index"], data.test.index)
    assert found["names"][7] == f"digits/test[{found['index'][7]}]"


def test_images_without_names_have_their_index_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("kdrecipes.runs.predictions.build_source", lambda *a: object())
    (tmp_path / "run").mkdir()
    write_predictions(tmp_path / "run", several(), prepare(several()), {})
    assert list(stored(tmp_path / "run")) == ["labels", "index"]


def test_any_id_is_a_name_in_predictions(tmp_path):
    recipe = several()
    data = prepare(recipe)
    (tmp_path / "run").mkdir()
    arrays = {name: np.full((2, 3), i, np.float32) for i, name in enumerate(["file", "args", "allow_pickle", "a.b-c"])}
    write_predictions(tmp_path / "run", recipe, data, arrays)
    found = stored(tmp_path / "run")
    assert all((found[name] == array).all() for name, array in arrays.items())


# ---- one of a list, copies, seeds


@pytest.mark.slow
def test_one_teacher_in_a_list_gives_the_bits_of_the_table(finished, tmp_path, monkeypatch, call):
    folder, report = finished
    recipe = small('teacher=[{name="cnn", width=8, train={epochs=3}}]', 'loss.teacher="cnn"')
    listed = small('teacher=[{name="cnn", width=8, train={epochs=3}}]')
    assert listed.fingerprint == small().fingerprint and kdrecipes.run(listed, folder) == report
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))  # the teacher is made anew
    for name, one in (("listed", listed), ("named", recipe)):
        kdrecipes.run(one, tmp_path / name)
        before, after = stored(folder), stored(tmp_path / name)
        assert list(before) == list(after)
        assert all(np.array_equal(before[key], after[key]) for key in before)
    mine, theirs = ((path / "history.jsonl").read_text().splitlines() for path in (tmp_path / "listed", folder))
    assert [sorted(json.loads(a)) for a in mine] == [sorted(json.loads(b)) for b in theirs]


def test_copies_are_teachers_of_neighbouring_seeds(home):
    recipe = small("teacher.copies=2", "seed=4", "teacher.train.epochs=1")
    data = prepare(recipe)
    first, second = (prepare_teacher(recipe, table, data, note=print) for table in recipe.teachers.values())
    assert not first.reused and not second.reused and first.fingerprint != second.fingerprint
    for seed, copy in ((4, first), (5, second)):
        alone = small(f"seed={seed}", "teacher.train.epochs=1")
        again = prepare_teacher(alone, *alone.teachers.values(), prepare(alone), note=print)
        assert again.reused and again.fingerprint == copy.fingerprint


def test_the_views_of_another_recipes_seed_make_another_teacher(home):
    """A teacher's own seed draws its weights; the recipe's draws the views, and is a part of what it depends on."""
    views = ("dataset.views.flip=true", "teacher.train.epochs=1")
    for change in (("seed=1",), ("teacher.seed=1",)):
        recipe = small(*views, *change)
        assert not prepare_teacher(recipe, *recipe.teachers.values(), prepare(recipe), note=print).reused


@pytest.mark.slow
def test_copies_are_listened_to_by_name(tmp_path, home):
    labels, two = [], ("teacher.copies=2", "teacher.train.epochs=1", 'teacher.preflight="warn"')
    with training.observed(lambda label, *rest: labels.append(label)):
        kdrecipes.run(small(*two, "train.epochs=1"), tmp_path / "run")
    assert labels == ["teacher cnn", "teacher cnn_2", "baseline-0", "kd-0"]


# ---- who is asked


@pytest.mark.slow
def test_cached_and_live_teachers_teach_alike(both, tmp_path, monkeypatch):
    folder, _ = both
    monkeypatch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
    live = [text.replace("width", 'cache="off", width') for text in (FIRST, OTHER)]
    mixed = kdrecipes.run(several(teachers=(FIRST, live[1])), tmp_path / "mixed")
    assert [t["seconds"]["outputs"] is None for t in mixed["teachers"]] == [False, True]
    kdrecipes.run(several(teachers=live), tmp_path / "live")
    cached = stored(folder)
    for other in (stored(tmp_path / "mixed"), stored(tmp_path / "live")):
        for name in ("cnn", "other", "ensemble", "baseline-0"):
            np.testing.assert_array_equal(cached[name], other[name])
        assert np.abs(cached["kd-0"] - other["kd-0"]).max() < 0.01 * np.abs(cached["kd-0"]).max()
    assert 'teacher other outputs: live, since teacher[1].cache = "off"' in (tmp_path / "live" / "log.txt").read_text()


@pytest.mark.slow
def test_terms_hear_whom_they_name(both, tmp_path, monkeypatch):
    """Features are the named teacher's; one that no term hears is asked for nootherg, and only measured."""
    folder, _ = both
    monkeypatch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
    asked, call = [], Inference.__call__
    monkeypatch.setattr(Inference, "__call__", lambda self, image: asked.append(image.shape[1]) or call(self, image))
    monkeypatch.setattr("kdrecipes.runs.predict.Inference", type("Silent", (Inference,), {"__call__": call}))
    hint = '{name="hint", teacher="cnn", student_layers=["logits"], teacher_layers=["logits"]}'
    terms = f'loss={{terms=[{{name="kd", teacher="cnn"}}, {hint}]}}'
    report = kdrecipes.run(several(terms, "compare.baseline=false"), tmp_path / "run")
    assert set(asked) <= {8}, "the other is shown 12 pixels"
    assert report["teachers"][1]["seconds"]["outputs"] is None and "ensemble" in report
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "teacher other outputs: live, since no term hears it" in log
    told = "teacher[1] (other): no term of [loss] hears it, so it teaches nothing"
    assert any(told in text for text in report["warnings"]) and log.index(told) < log.index("kd-0")
    assert [one["asked"] for one in report["teachers"]] == ["both", "never"]
    assert "No term heard other." in (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_images_without_labels_are_taught_by_all_together(tmp_path, home, cache):
    teachers = [text.replace("width", f'preflight="warn", cache="{cache}", width') for text in (FIRST, OTHER)]
    report = kdrecipes.run(several("dataset.labelled=0.5", teachers=teachers), tmp_path / "run")
    check_report(report)
    assert report["dataset"]["unlabelled"] > 0 and len(report["teachers"]) == 2
    assert [t["seconds"]["outputs"] is None for t in report["teachers"]] == [cache == "off"] * 2


# ---- what stops a run, and how it goes on


@pytest.mark.slow
def test_a_teacher_that_fails_its_preflight_stops_the_run_and_is_named(tmp_path, home):
    recipe = several(teachers=(FIRST, '{id="raw", name="cnn", width=4}'))
    with pytest.raises(RunError, match=r"The teacher 'raw' did not pass its preflight: .*teacher\[1\]\.preflight = "):
        kdrecipes.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "students").exists()
    assert "'raw'" in json.loads((tmp_path / "run" / "status.json").read_text())["error"]
    warned = several(teachers=(FIRST, '{id="raw", name="cnn", width=4, preflight="warn"}'))
    report = kdrecipes.run(warned, tmp_path / "warned")
    (warning,) = report["warnings"]
    assert warning.startswith("teacher raw preflight: its mean recall on ")


@pytest.mark.slow
def test_no_outputs_are_computed_before_every_teacher_has_passed(tmp_path, home):
    with pytest.raises(RunError, match="'raw'"):
        kdrecipes.run(several(teachers=(FIRST, '{id="raw", name="cnn", width=4}')), tmp_path / "run")
    assert not (home / "outputs").exists()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_bits(both, tmp_path, home, monkeypatch):
    folder, report = both
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "train_arm", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        kdrecipes.run(several(), tmp_path / "run")
    monkeypatch.setattr(runs, "choose_outputs", lambda *a: pytest.fail("decided again"))
    again = kdrecipes.run(several(), tmp_path / "run")
    before, after = stored(folder), stored(tmp_path / "run")
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert [t["reused"] for t in again["teachers"]] == [False, False] == [t["reused"] for t in report["teachers"]]
    assert all(t["seconds"]["outputs"] > 0 for t in again["teachers"])


def test_a_dry_run_tries_each_teacher():
    assert dry_run(several(), classes=10) == 10
    layers = '{name="hint", teacher="other", student_layers=["logits"], teacher_layers=["logit"]}'
    with pytest.raises(
        RunError, match=r"^loss.terms\[0\].teacher_layers: The teacher 'other' has no layer 'logit'\. Did"
    ):
        dry_run(several(f"loss={{terms=[{layers}]}}"), classes=10)


SOFTMAX = """
import kdrecipes

def build(classes, image_size):
    import keras

    pixels = keras.Input((image_size, image_size, 3))
    return keras.Model(pixels, keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(pixels)))

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="sure", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""


def test_what_is_wrong_with_one_of_several_names_its_place(tmp_path):
    (tmp_path / "sure.py").write_text(SOFTMAX)
    recipe = small(f'teacher=[{FIRST}, {{name="sure"}}]', plugins=[tmp_path / "sure.py"])
    with pytest.raises(RunError, match=r"^teacher\[1\]: The teacher ends in a softmax"):
        dry_run(recipe, classes=10)


@pytest.mark.slow
def test_outputs_that_nobody_can_learn_from_name_the_teacher(both, tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(both[0].parent / "home"))
    call = Inference.__call__

    def broken(self, image):
        return call(self, image) * (float("nan") if image.shape[1] == 12 and image.any() else 1.0)

    monkeypatch.setattr(Inference, "__call__", broken)
    monkeypatch.setattr("kdrecipes.runs.predict.Inference", type("Silent", (Inference,), {"__call__": call}))
    with pytest.raises(RunError, match=r"^teacher\[1\] \(other\): The teacher's logits are not finite for 266"):
        kdrecipes.run(several("dataset.views.flip=true"), tmp_path / "run")


def test_another_list_of_teachers_in_the_folder_is_told_by_its_first_difference(both):
    recipe = several(teachers=(FIRST, OTHER.replace("weight=3", "weight=2")))
    with pytest.raises(UsageError, match=r"another recipe: teacher\[1\]\.weight was 3\.0 and is 2\.0\. Choose"):
        kdrecipes.run(recipe, both[0])
