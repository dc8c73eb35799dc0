"""`kdrecipes run --replay-step`: the step that stopped a run is run again, and the run folder stays as it is."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SMALL, short, small

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import EnvironmentProblem, RunError, UsageError
from kdrecipes.report.step_words import step_text
from kdrecipes.runs import replay
from kdrecipes.runs.provenance import replaying
from kdrecipes.runs.replay import replay_step
from kdrecipes.training import fit as training


class Spoil(keras.callbacks.Callback):
    """Before a step, epoch and batch counted from 0: a layer's weights are no numbers, or the label loss is none."""

    def __init__(self, distiller, at, layer=None):
        super().__init__()
        self.distiller, self.at, self.layer = distiller, at, layer

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) != self.at:
            return
        if self.layer:
            kernel = self.distiller.student.get_layer(self.layer).kernel
            kernel.assign(kernel * math.nan)
            return
        real = self.distiller.learner.call

        def call(*arguments):
            logits, own, values = real(*arguments)
            wrong = torch.ones_like(own)
            wrong[3] = math.nan
            return logits, own * wrong, values

        self.distiller.learner.__dict__["call"] = call


def spoiling(fit, at, layer=None):
    """A listener that spoils a step of a fit, in whatever process and however often it comes to it."""

    def listener(label, distiller, loader, callbacks):
        if label == fit:
            callbacks.append(Spoil(distiller, at, layer))

    return training.observed(listener)


def files(folder):
    """All files below a folder: content and time of the last change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def states(home):
    """The states of the teachers' fits, which all runs share."""
    return {path: kept for path, kept in files(home / "teachers").items() if path.parent.name == "state"}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1000, 0])
def test_the_step_is_run_again_from_the_last_state_and_the_run_stays_as_it_is(tmp_path, home, every):
    """From the end of an epoch, and from the step before."""
    recipe = small(f"train.save_every_seconds={every}", "teacher.train.epochs=1", "compare.baseline=false")
    with spoiling("kd-0", (1, 2)):
        with pytest.raises(RunError) as stopped:
            kdrecipes.run(recipe, tmp_path / "run")
        before = files(tmp_path)
        step = replay_step(recipe, tmp_path / "run")
    assert {path for path, kept in files(tmp_path).items() if before.get(path) != kept} <= {*home.rglob("*")}
    assert files(tmp_path / "run") == {path: kept for path, kept in before.items() if home not in path.parents}
    assert (step["fit"], step["epoch"], step["step"], step["finite"]) == ("kd-0", 2, 3, False)
    text, [bad] = str(stopped.value), [one for one in step["examples"] if not one["finite"]]
    # What the run itself told of the step; it was on the same weights, images and teacher outputs.
    assert f"at a learning rate of {step['learning_rate']:.3g}; its parts are label_loss nan, kd " in text
    assert f"kd {step['parts']['kd']:.4g}; the examples that are not finite are {bad['name']}. A lower" in text
    assert f"`kdrecipes run RECIPE --out {tmp_path / 'run'} --replay-step` runs that step again" in text
    assert step["loss"] == step["parts"]["label_loss"] == "nan"
    train = prepare(recipe).train
    assert len(step["examples"]) == recipe.train.batch_size
    for one in step["examples"]:
        [place] = np.flatnonzero(train.index == int(one["name"].removeprefix("train ")))
        assert one["label"] == train.store.classes[train.labels[place]]
    # The outputs of all layers are finite: so the first one on the way back from the loss is told, the classifier.
    assert step["first"] == {"layer": "logits", "what": "gradient"}
    assert step["gradient_norms"]["logits"] == "nan" and list(step["gradient_norms"])[-1] == "logits"


@pytest.mark.slow
def test_the_first_layer_whose_output_is_no_number_is_told(tmp_path):
    with spoiling("baseline-0", (0, 1), layer="stage1a_conv"):
        with pytest.raises(RunError):
            kdrecipes.run(short(), tmp_path / "run")
        step = replay_step(short(), tmp_path / "run")
    assert step["first"] == {"layer": "stage1a_conv", "what": "output"}
    assert (step["fit"], step["epoch"], step["step"]) == ("baseline-0", 1, 2)


@pytest.mark.slow
def test_trackers_that_a_replay_leaves_out_are_no_change_of_the_run(tmp_path, capsys):
    recipe = short('callbacks=[{name="csv_log"}]')
    with spoiling("baseline-0", (0, 1)), pytest.raises(RunError):
        kdrecipes.run(recipe, tmp_path / "run")
    before = files(tmp_path / "run")
    assert any(b'"callback csv_log"' in content for content, _ in before.values())
    capsys.readouterr()
    replay_step(recipe, tmp_path / "run")
    told = "".join(capsys.readouterr())
    assert "Warning" not in told and "csv_log" not in told
    assert files(tmp_path / "run") == before


@pytest.mark.slow
def test_weights_that_are_no_numbers_after_the_last_step_are_told(tmp_path):
    """A moving variance overflows where batch norm keeps every output finite: it is found as the epoch is saved."""
    recipe = short('teacher.train.optimizer={name="sgd", learning_rate=1e12}')
    with pytest.raises(
        RunError, match=r"the weights stage1b_bn/moving_variance are not finite after step 8 of epoch 1"
    ):
        kdrecipes.run(recipe, tmp_path / "run")
    step = replay_step(recipe, tmp_path / "run")
    assert step["first"] == {"layer": "stage1b_bn", "what": "weights"} and not step["finite"]
    assert (step["fit"], step["epoch"], step["step"]) == ("teacher", 1, 8) and isinstance(step["loss"], float)


@pytest.mark.slow
def test_a_step_that_is_finite_this_time_is_told_as_such(tmp_path):
    with spoiling("baseline-0", (0, 1)), pytest.raises(RunError):
        kdrecipes.run(short(), tmp_path / "run")
    step = replay_step(short(), tmp_path / "run")
    told = step_text(step).splitlines()[0]
    again, finite = (
        "step 2 of epoch 1 was run again",
        "This time it is finite. Another machine can compute other numbers.",
    )
    assert told == f"baseline-0: {again}. {finite}"
    assert step["finite"] and step["first"] is None and all(one["finite"] for one in step["examples"])
    assert all(0 < norm < 100 for norm in step["gradient_norms"].values())


@pytest.mark.slow
def test_a_run_that_comes_to_no_number_before_that_step_says_so(tmp_path):
    with spoiling("baseline-0", (0, 2)), pytest.raises(RunError):
        kdrecipes.run(short(), tmp_path / "run")
    with spoiling("baseline-0", (0, 1)), pytest.raises(RunError, match=r"in step 2 of epoch 1"):
        replay_step(short(), tmp_path / "run")


@pytest.mark.slow
def test_the_message_of_the_run_names_the_command_and_the_command_tells_the_step(tmp_path, home, call):
    """A teacher's fit, with a learning rate that no weight survives."""
    wild = ['teacher.train.optimizer={name="sgd", learning_rate=1e30}', "train.save_every_seconds=0"]
    sets = [word for text in [*SMALL, *wild] for word in ("--set", text)]
    typed = ["run", "digits", "--out", tmp_path / "a run", *sets]
    code, _, told = call(*typed, "--overwrite")
    again = shlex.join(["kdrecipes", *map(str, typed), "--replay-step"])
    assert code == 1 and f"`{again}` runs that step again" in told
    status = json.loads((tmp_path / "a run" / "status.json").read_text())
    assert status["status"] == "failed" and status["stopped_at"]["fit"] == "teacher"
    before = files(tmp_path / "a run")
    teacher = states(home)
    code, out, told = call(*typed, "--replay-step")
    number = status["stopped_at"]["step"]
    assert code == 0 and out.startswith(f"teacher: step {number} of epoch 1 was run again; it is not finite.\n")
    for line in ("learning rate", "loss", "its parts", "first", "examples", "gradient norms"):
        assert f"\n{line} " in out or f"\n{line}\n" in out
    code, out, _ = call(*typed, "--replay-step", "--json", "--quiet")
    assert code == 0 and json.loads(out)["first"]["what"] in ("output", "gradient")
    assert files(tmp_path / "a run") == before
    assert states(home) == teacher


def test_what_else_goes_wrong_is_one_message(tmp_path, monkeypatch):
    """A plugin that fails, and a disk without room for the copy."""
    with spoiling("baseline-0", (0, 2)), pytest.raises(RunError):
        kdrecipes.run(short(), tmp_path / "run")

    def broken(label, distiller, loader, callbacks):
        raise ValueError("not now")

    with training.observed(broken), pytest.raises(RunError, match="stopped before that step: ValueError: not now"):
        replay_step(short(), tmp_path / "run")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(EnvironmentProblem, match=r"can't be copied to .*No space left on device\). Make room on"):
        replay_step(short(), tmp_path / "run")


def test_the_command_names_a_folder_with_a_space_as_a_shell_takes_it():
    command = replaying(None, Path("a run"))
    assert command == "kdrecipes run RECIPE --out 'a run' --replay-step"


WRONG = [{}, {"fit": 3}, {"epoch": True}, {"epoch": "1"}, {"step": 0}, {"step": 1.0}, {"step": None}]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_damaged_record_of_the_step_is_one_message(tmp_path, wrong):
    recipe, run = short(), tmp_path / "run"
    step = {**{"fit": "kd-0", "epoch": 1, "step": 2}, **wrong} if wrong else {}
    run.mkdir()
    (run / "lock.json").write_text(json.dumps({"recipe_sha256": recipe.fingerprint}))
    (run / "status.json").write_text(json.dumps({"status": "failed", "stopped_at": step}))
    with pytest.raises(UsageError, match=r"status\.json is damaged: its 'stopped_at' names no step\. The same command"):
        replay_step(recipe, run)


@pytest.mark.slow
def test_the_copy_lies_in_the_run_folder_and_one_that_a_kill_left_behind_is_removed(tmp_path, monkeypatch):
    run, copies, real = tmp_path / "run", [], replay._replayed
    with spoiling("baseline-0", (0, 1)), pytest.raises(RunError):
        kdrecipes.run(short(), run)
    left = run / ".passing.0123456789ab" / "run"
    left.mkdir(parents=True)
    (left / "lock.json").write_text("{}")

    def looked_at(recipe, copy, *others):
        copies.extend([copy, *run.glob(".passing.*")])
        return real(recipe, copy, *others)

    monkeypatch.setattr(replay, "_replayed", looked_at)
    replay_step(short(), run)
    copy, place = copies
    assert copy == place / "run" and place != left.parent
    assert not [*run.glob(".passing.*")]


@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "Interrupted"), (15, 143, "Stopped by SIGTERM")])
def test_a_signal_ends_a_step_that_is_run_again_and_its_message_names_the_same_command(
    tmp_path, home, call, number, code, word
):
    """At once, since it saves nothing; no folder is named that is gone."""
    every = "train.save_every_seconds=0"
    with spoiling("teacher", (0, 2)), pytest.raises(RunError):
        kdrecipes.run(short(every), tmp_path / "run")
    before = files(tmp_path / "run"), states(home)
    assert before[1]

    class Signal(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            os.kill(os.getpid(), number)

    sets = [word for text in [*SMALL, "train.epochs=1", "teacher.train.epochs=1", every] for word in ("--set", text)]
    with training.observed(lambda label, distiller, loader, callbacks: callbacks.append(Signal())):
        told = call("run", "digits", "--out", tmp_path / "run", "--replay-step", "--quiet", *sets)
    assert (told[0], told[1]) == (code, "")
    assert told[2].splitlines()[-1] == f"{word}. Nothing of the run was changed; the same command runs the step again."
    assert "state is saved" not in told[2] and "resume" not in told[2]
    assert (files(tmp_path / "run"), states(home)) == before


@pytest.mark.slow
def test_what_can_not_be_run_again_is_refused_in_one_message(tmp_path, call, capsys):
    """A run that went on, another recipe, no run, and a command that contradicts itself."""
    with spoiling("baseline-0", (0, 1)), pytest.raises(RunError):
        kdrecipes.run(short(), tmp_path / "run")
    with pytest.raises(UsageError, match=r"holds the run of another recipe: train\.epochs was 1 and is 3\. To run its"):
        replay_step(short("train.epochs=3"), tmp_path / "run")
    kdrecipes.run(short(), tmp_path / "run")
    assert "stopped_at" not in json.loads((tmp_path / "run" / "status.json").read_text())
    with pytest.raises(
        UsageError, match=r"There is no step to run again in .*: its state is 'done', and --replay-step"
    ):
        replay_step(short(), tmp_path / "run")
    with pytest.raises(UsageError, match="is no run folder"):
        replay_step(short(), tmp_path)
    capsys.readouterr()
    code, out, told = call("run", "digits", "--out", tmp_path / "none", "--replay-step")
    assert code == 2 and not out and told.count("\n") == 1 and not (tmp_path / "none").exists()
    code, _, told = call("run", "digits", "--out", tmp_path / "none", "--replay-step", "--overwrite")
    assert code == 2 and "either --replay-step, which changes nothing of the run, or --overwrite" in told
