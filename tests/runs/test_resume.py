"""A run that was stopped and goes on: to the same bits, with the facts of a whole one."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import EPOCHS, SMALL, short, small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.report.facts import read_arms, read_facts, read_teachers
from kdrecipes.runs import run as runs
from kdrecipes.training import fit as training
from kdrecipes.training.state import StateFolder

# How often is killed: in `make soak` more often.
ONE_OR_30, ONE_OR_100 = ([1, pytest.param(times, marks=pytest.mark.soak)] for times in (30, 100))
_KILLS_IN_A_FIT = "11"  # a seed whose first kill comes when a fit has saved its state: what a kill is most of all about


@pytest.mark.slow
def test_interrupted_run_ends_with_the_facts_of_a_whole_one(finished, tmp_path, home, monkeypatch):
    """What a step wrote down as it ended stays: its seconds, and that this very run fine-tuned the teacher."""
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


OPTIONS = [
    "train.accumulate=3",
    "train.ema=0.9",
    "train.recalibrate_batch_norm=2",
    "train.head_learning_rate_factor=5",
    'train.optimizer={name="adamw", weight_decay_on="kernels"}',
    'train.schedule={name="one_cycle"}',
    'teacher.preflight="warn"',  # a third of the updates leave it near to a constant answer
]


_PAIR = 'student_layers=["batch_normalization"], teacher_layers=["stage2b_relu"]'
LEARNING = [  # what they learn or keep is in the state; simkd puts a student of its own in the place of the plain one
    f'loss={{terms=[{{name="ctkd"}}, {{name="vid", {_PAIR}}}, {{name="srrl"}}, {{name="review_kd", {_PAIR}}}, '
    f'{{name="hint", {_PAIR}, projector="linear"}}, {{name="hint", {_PAIR}, projector="conv"}}, '
    '{name="ofa", student_layers=["batch_normalization"]}, {name="crd"}, {name="simkd"}]}',
    "teacher.train.epochs=1",
    'teacher.preflight="warn"',
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [[], OPTIONS, pytest.param(LEARNING, marks=pytest.mark.slow)],
    ids=["dropout", "every option of training", "every term that learns"],
)
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


def without_times(told):
    """A report without what differs between two runs of one recipe: times, the command, how the recipe was given."""
    if isinstance(told, list):
        return [without_times(one) for one in told]
    if not isinstance(told, dict):
        return told
    return {
        key: without_times(value)
        for key, value in told.items()
        if key not in ("seconds", "time", "energy", "environment", "command", "recipe")
    }


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "epoch"), [("teacher", 1), ("baseline", 0), ("kd", 0), ("kd", 1)])
def test_interrupted_run_continues_to_the_same_bits(finished, tmp_path, home, arm, epoch):
    """Stop in the middle of an epoch of one fit, run the same command again: as if nothing had happened."""
    folder, expected = finished
    recipe = small("train.save_every_seconds=0")  # it goes on within the epoch

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
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert f"goes on after step 3/8 of epoch {epoch + 1}/" in (tmp_path / "run" / "log.txt").read_text()
    assert without_times(report) == without_times(expected)
    for label in ("baseline-0", "kd-0"):
        for a, b in zip(student_arrays(folder, label), student_arrays(tmp_path / "run", label), strict=True):
            np.testing.assert_array_equal(a, b)
    with np.load(folder / "predictions.npz") as whole, np.load(tmp_path / "run" / "predictions.npz") as found:
        assert whole.files == found.files
        assert all(np.array_equal(whole[name], found[name]) for name in whole.files)
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [(row["arm"], row["epoch"]) for row in rows] == EPOCHS


@pytest.mark.slow
def test_another_machine_on_the_way_is_told_in_the_report(tmp_path, interrupted):
    recipe = small("train.epochs=1")
    lock = interrupted(recipe, tmp_path / "run")
    (tmp_path / "run" / "lock.json").write_text(json.dumps({**lock, "origin": {**lock["origin"], "device": "cuda"}}))
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["warnings"] == [
        "the run began with device cuda and went on with cpu, so it need not end bit for bit as if it had not stopped"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_leave_a_run_that_continues(tmp_path, number):
    """The real command, in another folder and stopped while it trains: exit code 143 or 130, and status "preempted"."""
    sets = [word for text in [*SMALL, "train.epochs=500"] for word in ("--set", text)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdrecipes", "run", "digits", "--out", str(tmp_path / "run"), *sets],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
    way = f"goes on after the last step that was saved, and so does `kdrecipes resume {tmp_path / 'run'}`.\n"
    assert message.endswith(way) and "Traceback" not in message
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "preempted"
    assert StateFolder(tmp_path / "run" / "state").load()[1]["steps"] > 0  # not the epoch's end alone


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("times", ONE_OR_100)
def test_a_run_that_is_killed_at_any_moment_completes_alike_and_leaves_nothing_behind(tmp_path, times, record_property):
    killed("run", tmp_path, times, record_property)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("times", ONE_OR_30)
def test_a_sweep_whose_processes_are_killed_completes_alike_and_leaves_nothing_behind(tmp_path, times, record_property):
    killed("sweep", tmp_path, times, record_property)


def killed(case, folder, times, record_property):
    """Have killed.py kill as often, and record what it says."""
    script = [
        sys.executable,
        str(Path(__file__).with_name("killed.py")),
        case,
        str(folder),
        str(times),
        _KILLS_IN_A_FIT,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60 * times + 180)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    for name in ("seed", "kills", "at_operations", "left_states", "processes"):
        record_property(name, record[name])
    assert (record["problems"], record["kills"]) == ([], times)
    assert record["left_states"] > times / 2, "most kills come when no fit has saved its state: try other seeds"


@pytest.mark.slow
def test_a_run_that_was_killed_when_its_teacher_was_done_fine_tuned_it_and_clears_its_states(
    tmp_path, home, monkeypatch
):
    """A kill may come between what is done and what is written down of it, or between that and the clearing up."""
    for step in ("check_teacher", "evaluate_once"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(runs, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            kdrecipes.run(short(), tmp_path / "run")
    (teacher,) = (home / "teachers").iterdir()
    for state in (teacher / "state", tmp_path / "run" / "state"):
        state.mkdir(exist_ok=True)
        (state / "last").write_bytes(b"of a fit that has ended")
    report = kdrecipes.run(short(), tmp_path / "run")
    assert [one["reused"] for one in report["teachers"]] == [False]
    assert not [*(teacher / "state").iterdir(), *(tmp_path / "run" / "state").iterdir()]
    assert kdrecipes.run(short(), tmp_path / "other")["teachers"][0]["reused"] is True
