"""Whole runs on scikit-learn's digits: arms, resuming, the run folder, bad input while running."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.disk.files import locked
from kdrecipes.errors import EnvironmentProblem, RunError, UsageError
from kdrecipes.report.build import check_report
from kdrecipes.report.facts import read_arms, read_facts, read_teachers
from kdrecipes.report.table import summary_text
from kdrecipes.runs import run as runs
from kdrecipes.runs.folder import RunFolder, decide
from kdrecipes.runs.predict import predict
from kdrecipes.training import fit as training
from kdrecipes.training.inference import Inference

SMALL = [
    "student.width=3",
    "student.depth=1",
    "teacher.width=8",
    "teacher.train.epochs=3",
    "train.epochs=2",
    'dataset.train="train[:320]"',
    "dataset.validation=0.2",
]

# What a run of SMALL does: the lines of its history, (arm, epoch).
EPOCHS = [("teacher", 1), ("teacher", 2), ("teacher", 3), ("baseline", 1), ("baseline", 2), ("kd", 1), ("kd", 2)]


def small(*more):
    return kdrecipes.load_recipe("digits", [*SMALL, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished small run: its folder and report. It found no teacher: the home beside it was its own."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        return folder, kdrecipes.run(small(), folder)


def student_arrays(folder, label):
    model = keras.models.load_model(folder / "students" / f"{label}.keras", compile=False, safe_mode=True)
    return [v.numpy() for v in model.weights]  # not the seeds' states, which a .keras file does not hold


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
    assert baseline["params"] == kd["params"] < report["teacher"]["params"]
    assert len(kd["validation_accuracy"]) == 2
    assert report["comparison"]["kd_minus_baseline"]["mean"] == pytest.approx(
        kd["test_accuracy"] - baseline["test_accuracy"]
    )


def test_figures_are_those_of_the_saved_file(finished):
    folder, report = finished
    stored = np.load(folder / "predictions.npz", allow_pickle=False)
    assert set(stored.files) == {"labels", "teacher", "baseline-0", "kd-0"}
    recipe = small()
    data = prepare(recipe)
    for arm in report["arms"]:
        label = f"{arm['arm']}-{arm['seed']}"
        model = keras.models.load_model(folder / arm["student"], compile=False, safe_mode=True)
        logits = predict(model, data.test, data.student_size)
        np.testing.assert_array_equal(logits, stored[label])
        assert (logits.argmax(1) == stored["labels"]).mean() == pytest.approx(arm["test_accuracy"])


@pytest.fixture
def asked(monkeypatch):
    """How many images each call of a teacher was about, but for rehearsals on black ones and for evaluation."""
    asked, call = [], Inference.__call__

    def counting(self, image):
        if image.any():
            asked.append(len(image))
        return call(self, image)

    monkeypatch.setattr(Inference, "__call__", counting)
    monkeypatch.setattr("kdrecipes.runs.predict.Inference", type("Silent", (Inference,), {"__call__": call}))
    return asked


def test_teacher_outputs_are_computed_once_for_every_seed_loss_and_run(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    views = "dataset.views.flip=true"
    first = kdrecipes.run(small(views, "train.epochs=1", "compare.seeds=[0,1]"), tmp_path / "one")
    train = first["dataset"]["train"]
    assert sum(asked) == train
    assert first["teacher"]["seconds"]["outputs"] > 0
    assert re.search(rf"teacher outputs: {train} views, \d kB, ", (tmp_path / "one" / "log.txt").read_text())
    asked.clear()
    other = small(views, "train.epochs=1", "loss.temperature=4", "student.width=2", "compare.baseline=false")
    second = kdrecipes.run(other, tmp_path / "two")
    assert asked == [] and second["teacher"]["seconds"]["outputs"] == 0.0
    assert (
        f"teacher outputs: {train} views, 5 kB, taken from an earlier run" in (tmp_path / "two" / "log.txt").read_text()
    )
    asked.clear()
    third = kdrecipes.run(small(views, "train.epochs=3", "compare.baseline=false"), tmp_path / "three")
    assert sum(asked) == 2 * train and third["teacher"]["seconds"]["outputs"] > 0
    assert f"{train} of them from an earlier run" in (tmp_path / "three" / "log.txt").read_text()


def test_a_cached_teacher_teaches_what_the_live_one_does(tmp_path, asked):
    """To the rounding of float16: the same figures, and a baseline of the same bits."""
    sets = ["dataset.views.flip=true", "dataset.views.crop_padding=1"]
    reports = [kdrecipes.run(small(f'teacher.cache="{c}"', *sets), tmp_path / c) for c in ("auto", "off")]
    assert [report["teacher"]["seconds"]["outputs"] is None for report in reports] == [False, True]
    steps = reports[1]["arms"][1]["steps"]
    assert asked[-steps:] == [32] * steps
    assert 'live, since teacher.cache = "off"' in (tmp_path / "off" / "log.txt").read_text()
    stored = [np.load(tmp_path / c / "predictions.npz", allow_pickle=False) for c in ("auto", "off")]
    np.testing.assert_array_equal(stored[0]["baseline-0"], stored[1]["baseline-0"])
    cached, live = (logits["kd-0"] for logits in stored)
    assert np.abs(cached - live).max() < 0.01 * np.abs(live).max()
    rows = [
        [json.loads(line)["kd"] for line in (tmp_path / c / "history.jsonl").read_text().splitlines()[-2:]]
        for c in ("auto", "off")
    ]
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)


def test_outputs_beyond_the_limit_are_asked_live_and_it_is_said(tmp_path, asked):
    report = kdrecipes.run(small("teacher.cache_limit_gb=4e-6", "train.epochs=1"), tmp_path / "run")
    assert report["teacher"]["seconds"]["outputs"] is None
    steps = report["arms"][1]["steps"]
    assert asked == [32] * steps
    why = f"{report['dataset']['train']} views take 5 kB, more than teacher.cache_limit_gb = 4e-06"
    assert f"teacher outputs: live, since {why}" in (tmp_path / "run" / "log.txt").read_text()
    lock = json.loads((tmp_path / "run" / "lock.json").read_text())
    assert lock["decisions"]["teacher_outputs"] == {"use": "live", "why": why}


def test_how_the_teacher_is_asked_is_decided_once(tmp_path, monkeypatch, asked):
    """A continued run does as it began, whatever it would decide now."""
    recipe = small("train.epochs=1")
    lock = interrupted(recipe, tmp_path / "run", monkeypatch)
    assert lock["decisions"]["teacher_outputs"]["use"] == "cached"
    lock["decisions"]["teacher_outputs"] = {"use": "live", "why": "it was so decided"}
    (tmp_path / "run" / "lock.json").write_text(json.dumps(lock))
    monkeypatch.setattr(runs, "choose_outputs", lambda *a: pytest.fail("decided again"))
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["teacher"]["seconds"]["outputs"] is None
    assert json.loads((tmp_path / "run" / "lock.json").read_text())["decisions"] == lock["decisions"]


def test_seconds_of_the_outputs_survive_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    recipe = small("train.epochs=1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "train_arm", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        kdrecipes.run(recipe, tmp_path / "run")
    spent = json.loads((tmp_path / "run" / "status.json").read_text())["outputs_seconds"]
    assert kdrecipes.run(recipe, tmp_path / "run")["teacher"]["seconds"]["outputs"] == spent > 0


def test_decisions_are_made_once_and_kept_beside_each_other(tmp_path):
    (tmp_path / "lock.json").write_text('{"recipe": {}}')
    folder = RunFolder(tmp_path)
    assert decide(folder, "one", lambda: decide(folder, "two", lambda: [2]) and {"a": 1}) == {"a": 1}
    for name, value in (("one", {"a": 1}), ("two", [2])):
        assert decide(folder, name, lambda: pytest.fail("decided again")) == value
    assert json.loads((tmp_path / "lock.json").read_text()) == {
        "recipe": {},
        "decisions": {"two": [2], "one": {"a": 1}},
    }


def test_history_has_a_line_for_each_arm_and_epoch(finished):
    folder, _ = finished
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(row["arm"], row["epoch"]) for row in rows] == EPOCHS
    assert {"loss", "label_loss", "kd", "accuracy", "val_accuracy", "val_loss"} <= rows[-1].keys()


def test_finished_run_prints_its_report_again_without_training(finished, monkeypatch):
    folder, report = finished
    monkeypatch.setattr(runs, "_straight_line", lambda *a: pytest.fail("a finished run trained again"))
    assert kdrecipes.run(small(), folder) == report


def test_report_is_made_again_from_the_folder_to_the_byte(finished, tmp_path, call):
    folder, report = finished
    shutil.copytree(folder, tmp_path / "copy")
    for name in ("report.json", "report.html"):
        (tmp_path / "copy" / name).unlink()
    code, out, _ = call("report", tmp_path / "copy")
    assert (code, out) == (0, summary_text(report) + "\n")
    for name in ("report.json", "report.html"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


def test_interrupted_run_ends_with_the_facts_of_a_whole_one(finished, tmp_path, monkeypatch):
    """What a step wrote down as it ended stays: its seconds, and that this very run fine-tuned the teacher."""
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    train = runs.train_arm

    def stopping(recipe, arm, *others):
        if arm.arm == "kd":
            raise KeyboardInterrupt
        train(recipe, arm, *others)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "train_arm", stopping)
        kdrecipes.run(small(), tmp_path / "run")
    teachers, arms = read_teachers(tmp_path / "run"), read_arms(tmp_path / "run")
    assert list(teachers) == ["cnn"] and list(arms) == ["baseline-0"]
    kdrecipes.run(small(), tmp_path / "run")
    facts, whole = read_facts(tmp_path / "run"), read_facts(finished[0])
    assert facts.teachers == teachers and facts.arms["baseline-0"] == arms["baseline-0"]
    assert (facts.recipe, facts.dataset, facts.student) == (whole.recipe, whole.dataset, whole.student)
    for found, expected in zip(
        [*facts.teachers.values(), *facts.arms.values()],
        [*whole.teachers.values(), *whole.arms.values()],
        strict=True,
    ):
        assert replace(found, seconds=expected.seconds) == expected


def test_same_recipe_gives_the_same_result(finished, tmp_path, monkeypatch):
    folder, report = finished
    monkeypatch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
    again = kdrecipes.run(small(), tmp_path / "again")
    for label in ("baseline-0", "kd-0"):
        for a, b in zip(student_arrays(folder, label), student_arrays(tmp_path / "again", label), strict=True):
            np.testing.assert_array_equal(a, b)
    assert again["teacher"]["reused"] and not report["teacher"]["reused"]
    assert again["teacher"]["sha256"] == report["teacher"]["sha256"]


def test_arms_of_a_seed_start_from_the_same_weights_and_are_fed_the_same_batches(monkeypatch, tmp_path):
    seen = {}

    class Recording(training.Loader):
        def __getitem__(self, batch):
            x, y = super().__getitem__(batch)
            if self.drop_last:  # the training split
                seen[current][1].append((self.epoch, batch, x["image"].numpy().tobytes(), y.numpy().tobytes()))
            return x, y

    def spying(label, distiller, loader, callbacks):
        nonlocal current
        current = label
        seen[current] = ([v.numpy().copy() for v in distiller.student.variables], [])

    current = ""
    monkeypatch.setattr(training, "Loader", Recording)
    with training.observed(spying):
        kdrecipes.run(small("compare.seeds=[0,1]", "dataset.views.flip=true"), tmp_path / "run")
    assert {"baseline-0", "kd-0", "baseline-1", "kd-1"} <= set(seen)
    for seed in (0, 1):
        (first, fed), (second, fed_too) = seen[f"baseline-{seed}"], seen[f"kd-{seed}"]
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
        assert fed == fed_too and len({epoch for epoch, *_ in fed}) == 2
    assert any((a != b).any() for a, b in zip(seen["kd-0"][0], seen["kd-1"][0], strict=True))
    assert seen["kd-0"][1] != seen["kd-1"][1]


DROPS = """
import kdrecipes

def build(classes, image_size):
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.Dropout(0.5)(x)
    return keras.Model(pixels, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="drops", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""


@pytest.fixture
def drops(tmp_path):
    """Recipes whose student has dropout and layers without names."""
    (tmp_path / "drops.py").write_text(DROPS)
    sets = [*SMALL[2:], 'student={name="drops"}']
    return lambda *more: kdrecipes.load_recipe("digits", [*sets, *more], plugins=[tmp_path / "drops.py"])


OPTIONS = [
    "train.accumulate=3",
    "train.ema=0.9",
    "train.recalibrate_batch_norm=2",
    "train.head_learning_rate_factor=5",
    'train.optimizer={name="adamw", weight_decay_on="kernels"}',
    'train.schedule={name="one_cycle"}',
]


@pytest.mark.parametrize("options", [[], OPTIONS], ids=["dropout", "every option of training"])
def test_a_resumed_run_is_what_it_would_have_been(tmp_path, drops, options):
    whole = tmp_path / "whole"
    kdrecipes.run(drops(*options), whole)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def stopping(label, distiller, loader, callbacks):
        if label != "teacher":
            callbacks.append(Stop())

    with training.observed(stopping), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(drops(*options), tmp_path / "stopped")
    kdrecipes.run(drops(*options), tmp_path / "stopped")
    for label in ("baseline-0", "kd-0"):
        for a, b in zip(student_arrays(whole, label), student_arrays(tmp_path / "stopped", label), strict=True):
            np.testing.assert_array_equal(a, b)


def test_layers_without_names_are_numbered_alike_in_every_build(tmp_path, drops):
    term = 'loss={name="hint", student_layers=["conv2d_1"], teacher_layers=["stage1b_relu"], projector="linear"}'
    with pytest.raises(RunError, match="shapes must be equal"):  # found, both times; 4 and 8 px wide
        kdrecipes.run(drops(term), tmp_path / "run")
    good = term.replace("stage1b_relu", "logits").replace("conv2d_1", "global_average_pooling2d")
    kdrecipes.run(drops(good), tmp_path / "good")


@pytest.mark.parametrize(("arm", "epoch"), [("teacher", 1), ("baseline", 0), ("kd", 0), ("kd", 1)])
def test_interrupted_run_continues_to_the_same_bits(finished, tmp_path, monkeypatch, arm, epoch):
    """Stop in the middle of an epoch of one fit, run the same command again: weights as if nothing had happened."""
    folder, _ = finished
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    recipe = small()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, number, logs=None):
            self.number = number

        def on_train_batch_end(self, batch, logs=None):
            if self.number == epoch and batch == 3:
                raise KeyboardInterrupt

    def stopping(label, distiller, loader, callbacks):
        if label.startswith(arm):
            callbacks.append(Stop())

    with training.observed(stopping), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "preempted"
    kdrecipes.run(recipe, tmp_path / "run")
    for label in ("baseline-0", "kd-0"):
        for a, b in zip(student_arrays(folder, label), student_arrays(tmp_path / "run", label), strict=True):
            np.testing.assert_array_equal(a, b)
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [(row["arm"], row["epoch"]) for row in rows] == EPOCHS


def test_another_recipe_in_the_folder_is_refused_with_the_two_ways_on(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(UsageError, match=r"train\.epochs was 2 and is 3.*--out.*--overwrite"):
        kdrecipes.run(small("train.epochs=3"), folder)


def test_overwrite_replaces_a_run_and_nothing_else(tmp_path):
    recipe = small("train.epochs=1")
    kdrecipes.run(recipe, tmp_path / "run")
    other = kdrecipes.run(small("train.epochs=1", "student.width=2"), tmp_path / "run", overwrite=True)
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == other
    (tmp_path / "run" / "notes.txt").write_text("precious")
    kdrecipes.run(recipe, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "precious"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"holds files that are no run \(thesis.tex"):
        kdrecipes.run(recipe, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"


def test_overwrite_starts_the_same_recipe_afresh(tmp_path):
    recipe = small("train.epochs=1")
    kdrecipes.run(recipe, tmp_path / "run")
    before = (tmp_path / "run" / "students" / "kd-0.keras").stat().st_mtime_ns
    kdrecipes.run(recipe, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "students" / "kd-0.keras").stat().st_mtime_ns > before


def test_a_second_process_in_the_folder_is_refused(tmp_path):
    with (
        locked(tmp_path / "run" / ".lock"),
        pytest.raises(EnvironmentProblem, match=r"Another process is running in .*--out"),
    ):
        kdrecipes.run(small(), tmp_path / "run")


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        kdrecipes.run(small(), tmp_path / "file")


def interrupted(recipe, folder, monkeypatch):
    """A run that stopped just after it had begun; returns its lock."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "plan_fits", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        kdrecipes.run(recipe, folder)
    return json.loads((folder / "lock.json").read_text())


@pytest.mark.parametrize("change", [{"dataset_sha256": "0" * 64}, {"files": {"weights.h5": "0" * 64}}])
def test_data_or_files_that_changed_since_the_run_began_are_refused(tmp_path, monkeypatch, change):
    recipe = small("train.epochs=1")
    lock = interrupted(recipe, tmp_path / "run", monkeypatch)
    (tmp_path / "run" / "lock.json").write_text(json.dumps({**lock, "origin": {**lock["origin"], **change}}))
    with pytest.raises(UsageError, match=r"The (data|files that the recipe names) changed .*--out.*--overwrite"):
        kdrecipes.run(recipe, tmp_path / "run")


def test_another_machine_on_the_way_is_told_in_the_report(tmp_path, monkeypatch):
    recipe = small("train.epochs=1")
    lock = interrupted(recipe, tmp_path / "run", monkeypatch)
    (tmp_path / "run" / "lock.json").write_text(json.dumps({**lock, "origin": {**lock["origin"], "device": "cuda"}}))
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["warnings"] == ["the run began with device cuda and went on with cpu"]


def test_single_file_plugin_is_recorded_with_its_sha256(tmp_path, loud, monkeypatch):
    lock = interrupted(loud('loss={name="late"}'), tmp_path / "run", monkeypatch)
    (digest,) = lock["origin"]["files"].values()
    assert digest.removeprefix("sha256:") == hashlib.sha256((tmp_path / "loud.py").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["lock.json", "status.json", "history.jsonl"])
def test_damaged_run_folder_is_one_message(tmp_path, monkeypatch, name):
    interrupted(small(), tmp_path / "run", monkeypatch)
    (tmp_path / "run" / name).write_text("{torn")
    with pytest.raises(UsageError, match=rf"{name} can't be read .*--out"):
        kdrecipes.run(small(), tmp_path / "run")


@pytest.mark.parametrize("name", ["arms", "teachers"])
def test_damaged_facts_of_an_unfinished_run_are_one_message(tmp_path, monkeypatch, name):
    interrupted(small(), tmp_path / "run", monkeypatch)
    (tmp_path / "run" / "facts" / f"{name}.json").write_text("{torn")
    with pytest.raises(UsageError, match=rf"facts/{name}.json can't be read .*--overwrite` makes the run anew"):
        kdrecipes.run(small(), tmp_path / "run")
    report = kdrecipes.run(small("train.epochs=1"), tmp_path / "run", overwrite=True)
    assert [arm["epochs"] for arm in report["arms"]] == [1, 1]


def test_folder_with_nothing_but_leftovers_of_a_kill_is_used(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock.json.abc").write_text("half")
    assert kdrecipes.run(small("train.epochs=1"), tmp_path / "run")["status"] == "done"


def test_unknown_device_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match="--device tpu: not available here"):
        kdrecipes.run(small(), tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


def test_teacher_batch_larger_than_train_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"fewer than one batch of teacher\.train\.batch_size = 4096"):
        kdrecipes.run(small("teacher.train.batch_size=4096"), tmp_path / "run")


def test_non_finite_loss_stops_the_run_and_keeps_nothing_of_the_epoch(tmp_path):
    recipe = small('train.optimizer={name="sgd", learning_rate=1e30}', 'teacher.train.optimizer={name="adamw"}')
    with pytest.raises(RunError, match=r"baseline-0: the loss is (nan|inf).*learning_rate"):
        kdrecipes.run(recipe, tmp_path / "run")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["status"] == "failed" and "baseline-0" in status["error"]
    assert not (tmp_path / "run" / "state" / "last").exists()


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
        ]
    )
    (tmp_path / "alone.toml").write_text(text)
    report = kdrecipes.run(kdrecipes.load_recipe(tmp_path / "alone.toml"), tmp_path / "run")
    assert [arm["arm"] for arm in report["arms"]] == ["baseline"]
    assert report["teacher"] is None and report["comparison"] is None
    assert "agreement" not in report["arms"][0]
    assert "student, labels only" in summary_text(report)


def test_weak_teacher_is_stopped_before_any_student_trains(tmp_path):
    recipe = small('teacher.train.optimizer={name="sgd", learning_rate=1e-12}')
    with pytest.raises(RunError, match=r"did not pass its preflight: its validation accuracy is .*warn"):
        kdrecipes.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "students").exists()


def test_preflight_warn_goes_on_and_says_so_in_the_report(tmp_path):
    recipe = small(
        'teacher.train.optimizer={name="sgd", learning_rate=1e-12}', 'teacher.preflight="warn"', "train.epochs=1"
    )
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert len(report["warnings"]) == 1 and "validation accuracy" in report["warnings"][0]
    assert "Warning: teacher preflight" in summary_text(report)


def test_json_twin_gives_the_same_result(finished, tmp_path):
    folder, _ = finished
    twin = os.path.join(os.path.dirname(__file__), "..", "..", "recipes", "digits.json")
    recipe = kdrecipes.load_recipe(twin, SMALL)
    assert recipe.fingerprint == small().fingerprint
    kdrecipes.run(recipe, tmp_path / "twin")
    assert (tmp_path / "twin" / "recipe.json").is_file()
    for a, b in zip(student_arrays(folder, "kd-0"), student_arrays(tmp_path / "twin", "kd-0"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_callbacks_are_attached_to_every_arm(tmp_path):
    run = tmp_path / "run"
    kdrecipes.run(small('callbacks=[{name="csv_log"}]', "train.epochs=2"), run)
    for label in ("baseline-0", "kd-0"):
        assert len((run / f"{label}.csv").read_text().splitlines()) == 3
    assert not (run / "teacher-0.csv").exists()


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


def test_unknown_layer_names_the_nearest_and_the_place(tmp_path):
    recipe = small('loss={name="hint", student_layers=["stage1b_rel"], teacher_layers=["stage1b_relu"]}')
    with pytest.raises(RunError, match=r"loss.*no layer 'stage1b_rel'. Did you mean 'stage1b_relu'"):
        kdrecipes.run(recipe, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_leave_a_run_that_continues(tmp_path, number):
    """The real command, stopped while it trains: exit code 143 or 130, and status "preempted"."""
    sets = [word for text in [*SMALL, "train.epochs=500"] for word in ("--set", text)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdrecipes", "run", "digits", "--out", str(tmp_path / "run"), *sets],
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    for line in process.stderr:
        if line.startswith("baseline-0  epoch 2/"):
            process.send_signal(number)
            break
    message = process.stderr.read()
    assert process.wait() == (143 if number == signal.SIGTERM else 130)
    killer.cancel()
    assert "continues from the last whole epoch" in message and "Traceback" not in message
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "preempted"
    assert (tmp_path / "run" / "state" / "last").is_file()


UNSAVEABLE = """
import kdrecipes

def build(classes, image_size):
    import keras

    class Odd(keras.layers.Layer):
        def call(self, x):
            return x + 1

    pixels = keras.Input((image_size, image_size, 3))
    x = keras.layers.GlobalAveragePooling2D()(Odd()(pixels))
    return keras.Model(pixels, keras.layers.Dense(classes)(x), name="odd")

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="odd", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""


def test_student_that_cannot_be_loaded_again_is_refused_before_training(tmp_path):
    (tmp_path / "odd.py").write_text(UNSAVEABLE)
    recipe = kdrecipes.load_recipe("digits", [*SMALL[2:], 'student={name="odd"}'], plugins=[tmp_path / "odd.py"])
    with pytest.raises(RunError, match=r"student: .odd. can.t be saved and loaded again .*register_keras_serializable"):
        kdrecipes.run(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "history.jsonl").exists() is False


LOUD = """
import kdrecipes

def thousand(classes, image_size):
    import keras

    pixels = keras.Input((image_size, image_size, 3))
    return keras.Model(pixels, keras.layers.Dense(1000)(keras.layers.Flatten()(pixels)))

class Late:
    calls = 0

    def __call__(self, labels, student, teacher):
        self.calls += 1
        if self.calls > 2:
            raise KeyError("late")
        return (student.logits - teacher.logits).square().mean(-1)

@kdrecipes.hookimpl
def kdrecipes_components():
    passed = {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}
    yield kdrecipes.Component(kind="model", name="thousand", build=thousand, options={
        "type": "object", "additionalProperties": False, "properties": passed})
    yield kdrecipes.Component(kind="loss", name="late", build=Late)
"""


@pytest.fixture
def loud(tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    return lambda *more: kdrecipes.load_recipe("digits", [*SMALL, *more], plugins=[tmp_path / "loud.py"])


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_wrong_class_count_is_told_before_anything_trains(tmp_path, loud, role):
    with pytest.raises(RunError, match=rf"{role}: 'thousand' has 1000 outputs and the dataset 10 classes"):
        kdrecipes.run(loud(f'{role}={{name="thousand"}}'), tmp_path / "run")
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_whatever_a_plugin_raises_is_one_line_and_its_traceback_is_in_the_log(tmp_path, loud):
    with pytest.raises(RunError, match=r"The run stopped: KeyError: 'late'. The traceback is in .*log.txt"):
        kdrecipes.run(loud('loss={name="late"}'), tmp_path / "run")
    assert 'raise KeyError("late")' in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / "students" / "baseline-0.keras").is_file()


# --- another size for the teacher -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_teacher_and_student_have_sizes_of_their_own(tmp_path, cache):
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


def test_features_of_a_teacher_of_another_size_are_of_its_images(tmp_path):
    terms = '[{name="hint", student_layers=["logits"], teacher_layers=["logits"]}, {name="kd"}]'
    recipe = small("teacher.image_size=12", f"loss={{terms={terms}}}")
    kdrecipes.run(recipe, tmp_path / "run")
