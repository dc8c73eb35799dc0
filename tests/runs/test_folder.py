"""The run folder: whose it is, what may be overwritten, what damage is called."""

import json
import os
import shutil
import signal
import tempfile
import time

import pytest
from samples import short, small

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.disk.files import locked
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import EnvironmentProblem, Preempted, RunError, UsageError
from kdrecipes.runs.changes import added_seeds, nothing_trained
from kdrecipes.runs.folder import RunFolder, keep_decision, open_run
from kdrecipes.training import fit as training


def lock_of(folder):
    return read_json(folder / "lock.json")


def trained(folder):
    """As if a student had begun to train there."""
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "last").write_bytes(b"")


def test_decisions_are_made_once_and_kept_beside_each_other(tmp_path):
    (tmp_path / "lock.json").write_text('{"recipe": {}}')
    folder = RunFolder(tmp_path)
    assert keep_decision(folder, "one", lambda: keep_decision(folder, "two", lambda: [2]) and {"a": 1}) == {"a": 1}
    for name, value in (("one", {"a": 1}), ("two", [2])):
        assert keep_decision(folder, name, lambda: pytest.fail("decided again")) == value
    assert read_json(tmp_path / "lock.json") == {
        "recipe": {},
        "decisions": {"two": [2], "one": {"a": 1}},
    }


def test_while_a_run_goes_on_keras_unpacks_in_its_folder(tmp_path, monkeypatch):
    """What a killed process leaves there is found, and removed."""
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *given, **more: pytest.fail("it lies elsewhere"))
    with open_run(short(), tmp_path / "run", False):
        model.save(tmp_path / "model.keras")
    (tmp_path / "run" / ".passing.0123456789ab").mkdir()
    with open_run(short(), tmp_path / "run", False):
        assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".passing")]


def test_another_recipe_in_the_folder_is_refused_with_the_two_ways_on(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(UsageError, match=r"train\.epochs was 2 and is 3.*--out.*--overwrite"):
        kdrecipes.run(small("train.epochs=3"), folder)


@pytest.mark.slow
def test_more_seeds_are_added_to_a_run_and_change_nothing_of_what_is_there(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    more = small("compare.seeds=[0, 7]")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run" / "students").iterdir()}
    report = kdrecipes.run(more, tmp_path / "run")
    whole = kdrecipes.run(more, tmp_path / "whole")
    for name, content in before.items():
        assert (tmp_path / "run" / "students" / name).read_bytes() == content
    assert [(a["arm"], a["seed"]) for a in report["arms"]] == [(a["arm"], a["seed"]) for a in whole["arms"]]
    assert report["recipe_sha256"] == more.fingerprint and report["comparison"] == whole["comparison"]
    assert "added: seed 7" in (tmp_path / "run" / "log.txt").read_text()
    assert kdrecipes.run(more, tmp_path / "run") == report, "and it is finished"
    assert kdrecipes.run(small(), tmp_path / "run") == report, "fewer seeds are among them"
    assert "holds the finished run of seeds 0, 7" in (tmp_path / "run" / "log.txt").read_text()
    with pytest.raises(UsageError, match=r"of another recipe: compare\.seeds was \[0, 7\] and is \[0, 3\]"):
        kdrecipes.run(small("compare.seeds=[0, 3]"), tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()
    with pytest.raises(UsageError, match=r"of another recipe: compare\.seeds was \[0, 7\] and is \[0\]"):
        kdrecipes.run(small(), tmp_path / "run")


def test_seeds_are_added_to_a_run_that_differs_in_nothing_else():
    old = small("compare.seeds=[0, 1]").data
    assert added_seeds(old, small("compare.seeds=[1, 2, 0, 5]").data) == [2, 5]
    for asked in (old, small("compare.seeds=[0, 2]").data, small("compare.seeds=[0, 1, 2]", "train.epochs=3").data):
        assert added_seeds(old, asked) == []
    for damaged in (None, [], {}, {"compare": {}}, {"compare": {"seeds": 3}}):
        assert added_seeds(damaged, old) == []


def test_a_key_that_the_run_was_begun_without_is_no_difference_at_its_default(tmp_path):
    before = {**small().data, "compare": {"baseline": True, "seeds": [0]}}
    trained(tmp_path)
    (tmp_path / "lock.json").write_text(json.dumps({"recipe_sha256": "0" * 64, "recipe": before}))
    with pytest.raises(UsageError, match=r"of another recipe: train\.epochs was 2 and is 3\. Choose"):
        kdrecipes.run(small("train.epochs=3"), tmp_path)
    with pytest.raises(UsageError, match=r"of another recipe: compare\.margin was absent and is 0\.01\. Choose"):
        kdrecipes.run(small("compare.margin=0.01"), tmp_path)


@pytest.mark.slow
def test_a_run_that_failed_before_it_trained_gives_place_to_the_corrected_recipe(tmp_path, home):
    with pytest.raises(RunError, match=r"fewer than one batch of train\.batch_size = 300"):
        kdrecipes.run(short("train.batch_size=300"), tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("precious")
    recipe = short('teacher.preflight="warn"')
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["recipe_sha256"] == recipe.fingerprint == lock_of(tmp_path / "run")["recipe_sha256"]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "held a run in which nothing was trained; it is replaced: " in log
    assert "train.batch_size was 300 and is 32" in log
    assert (tmp_path / "run" / "notes.txt").read_text() == "precious"


@pytest.mark.slow
def test_a_run_that_failed_before_it_trained_goes_on_with_mended_data_and_decides_anew(tmp_path, interrupted, home):
    recipe = short('teacher.preflight="warn"')
    lock = interrupted(recipe, tmp_path / "run")
    began = {"origin": {**lock["origin"], "dataset_sha256": "0" * 64}, "decisions": {"compile": "of other data"}}
    (tmp_path / "run" / "lock.json").write_text(json.dumps(lock | began))
    kdrecipes.run(recipe, tmp_path / "run")
    now = lock_of(tmp_path / "run")
    assert (now["origin"], now["decisions"]) == (lock["origin"], lock["decisions"])


@pytest.mark.parametrize("made", ["students/kd-0.keras", "teachers/cnn.keras", "state/last", "predictions.npz"])
def test_whatever_training_made_is_not_replaced_unasked(tmp_path, interrupted, made):
    interrupted(small(), tmp_path / "run")
    (tmp_path / "run" / made).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / made).write_bytes(b"")
    with pytest.raises(UsageError, match=r"of another recipe: train\.epochs was 2 and is 3\."):
        kdrecipes.run(small("train.epochs=3"), tmp_path / "run")
    assert (tmp_path / "run" / made).exists()


@pytest.mark.parametrize("line, replaced", [('{"arm": "teacher"}', True), ('{"arm": "kd"}', False), ("{torn", False)])
def test_epochs_of_a_student_are_training_and_those_of_a_teacher_are_kept_elsewhere(tmp_path, line, replaced):
    (tmp_path / "history.jsonl").write_text(line + "\n")
    assert nothing_trained(tmp_path) == replaced


@pytest.mark.slow
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
    (tmp_path / "mine" / "run").mkdir()
    half_written = tmp_path / "mine" / "run" / ".status.json.0123456789ab"
    half_written.touch()  # by a run that goes on there
    with pytest.raises(UsageError, match=r"holds files that are no run \(run, thesis.tex"):
        kdrecipes.run(recipe, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious" and half_written.exists()


@pytest.mark.slow
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


def test_out_below_a_folder_that_cannot_be_written_says_how_to_choose_another(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match=r"run can't be written: .*\. Choose another folder with --out\."):
        kdrecipes.run(small(), tmp_path / "file" / "run")


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        kdrecipes.run(small(), tmp_path / "file")


@pytest.mark.parametrize("change", [{"dataset_sha256": "0" * 64}, {"files": {"weights.h5": "0" * 64}}])
def test_data_or_files_that_changed_since_the_run_began_are_refused(tmp_path, interrupted, change):
    recipe = small("train.epochs=1")
    lock = interrupted(recipe, tmp_path / "run")
    trained(tmp_path / "run")
    (tmp_path / "run" / "lock.json").write_text(json.dumps({**lock, "origin": {**lock["origin"], **change}}))
    with pytest.raises(UsageError, match=r"The (data|files that the recipe names) changed .*--out.*--overwrite"):
        kdrecipes.run(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content"), [("lock.json", "{torn"), ("history.jsonl", "{torn"), ("history.jsonl", "{}")]
)
def test_damaged_run_folder_is_one_message_and_can_be_replaced(tmp_path, interrupted, name, content):
    interrupted(small(), tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(UsageError, match=rf"{name} can't be read .*--out, or replace that run with --overwrite\."):
        kdrecipes.run(small(), tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), training.observed(stop):
        kdrecipes.run(small(), tmp_path / "run", overwrite=True)


def stop(*fit):
    raise KeyboardInterrupt


def test_a_damaged_status_is_told_and_written_anew(tmp_path, interrupted):
    interrupted(small(), tmp_path / "run")
    (tmp_path / "run" / "status.json").write_text("{torn")
    with (
        pytest.warns(UserWarning, match=r"run/status\.json is damaged; it is written anew"),
        pytest.raises(KeyboardInterrupt),
        training.observed(stop),
    ):
        kdrecipes.run(small(), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "preempted"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arms", "teachers"])
def test_damaged_facts_of_an_unfinished_run_are_one_message(tmp_path, interrupted, name):
    interrupted(small(), tmp_path / "run")
    (tmp_path / "run" / "facts" / f"{name}.json").write_text("{torn")
    with pytest.raises(UsageError, match=rf"facts/{name}.json can't be read .*--overwrite` makes the run anew"):
        kdrecipes.run(small(), tmp_path / "run")
    report = kdrecipes.run(small("train.epochs=1"), tmp_path / "run", overwrite=True)
    assert [arm["epochs"] for arm in report["arms"]] == [1, 1]


@pytest.mark.slow
def test_folder_with_nothing_but_leftovers_of_a_kill_is_used(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock.json.abc").write_text("half")
    assert kdrecipes.run(small("train.epochs=1"), tmp_path / "run")["status"] == "done"


def test_unknown_device_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match="--device tpu: not available here"):
        kdrecipes.run(small(), tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_that_an_earlier_version_began_says_that_its_students_are_trained_again(tmp_path, interrupted):
    interrupted(small(), tmp_path / "run")
    status = tmp_path / "run" / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"arms": {"baseline-0": {}}}))
    kdrecipes.run(small(), tmp_path / "run")
    assert "an earlier version of kdrecipes began this run" in (tmp_path / "run" / "log.txt").read_text()
    assert "arms" not in json.loads(status.read_text())


@pytest.mark.slow
def test_a_run_that_knew_no_labels_begins_its_students_again(tmp_path, interrupted):
    recipe = small("train.epochs=1")
    interrupted(recipe, tmp_path / "run")
    facts = tmp_path / "run" / "facts"
    known = read_json(facts / "dataset.json")
    (facts / "dataset.json").write_text(json.dumps({k: v for k, v in known.items() if "label" not in k}))
    (facts / "arms.json").write_text('{"baseline-0": {"arm": "baseline"}}')
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["dataset"]["labelled"] == report["dataset"]["train"]
    assert "an earlier version of kdrecipes began this run" in (tmp_path / "run" / "log.txt").read_text()


def test_a_signal_that_a_library_turns_into_its_own_error_stops_the_run_all_the_same(tmp_path):
    with pytest.raises(Preempted, match="Stopped by SIGTERM"), open_run(short(), tmp_path / "run", overwrite=False):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except Preempted as error:
            raise ValueError("Invalid bounding box") from error
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "preempted"
