"""A file of a run or of the home that is cut off or has a flipped bit: told by name, and never trained on silently."""

import json
import random
import shutil
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
from charts import draw_charts
from samples import small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data import store
from kdrecipes.disk.json_files import read_json, write_sealed
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError, UsageError
from kdrecipes.report.build import rebuild_report
from kdrecipes.report.facts import read_arms
from kdrecipes.report.sweep_results import write_sweep
from kdrecipes.runs import run as runs
from kdrecipes.runs.folder import open_run
from kdrecipes.runs.predictions import write_arrays
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.resumed import resumed
from kdrecipes.runs.shared_arms import kept_arm
from kdrecipes.runs.sweep_folder import SweepFolder
from kdrecipes.runs.sweep_parts import Parts
from kdrecipes.training import fit as training

RECIPE = ("teacher.train.epochs=1", "train.epochs=3", 'teacher.preflight="warn"')


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def stopping(label, distiller, loader, callbacks):
    if label == "kd-0":
        callbacks.append(Stop())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that stopped in the last epoch of its last student; and the weights with which it ends, undamaged."""
    place = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(place / "kept" / "home"))
        with training.observed(stopping), pytest.raises(KeyboardInterrupt):
            kdrecipes.run(small(*RECIPE), place / "kept" / "run")
        shutil.copytree(place / "kept", place / "whole")
        patch.setenv("KDRECIPES_HOME", str(place / "whole" / "home"))
        kdrecipes.run(small(*RECIPE), place / "whole" / "run")
    return place / "kept", weights(place / "whole" / "run")


def weights(run):
    return [one for label in ("baseline-0", "kd-0") for one in student_arrays(run, label)]


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    """One bit in the middle, of what differs from file to file."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


TOLD = "told"  # a message, a note or a warning names the file or its folder
UNUSED = "unused"  # what it says changes nothing that is trained
FILES = {
    "run/state/last": TOLD,
    "run/state/prev": UNUSED,
    "run/lock.json": TOLD,
    "run/status.json": UNUSED,
    "run/history.jsonl": TOLD,
    "run/facts/arms.json": TOLD,
    "run/facts/teachers.json": TOLD,
    "run/students/baseline-0.keras": TOLD,
    "run/students/baseline-0.json": UNUSED,
    "home/teachers/*/weights": TOLD,
    "home/outputs/*/meta.json": TOLD,
    "home/outputs/*/*.float16": TOLD,
    "home/outputs/*/*.float16.json": TOLD,
    "home/stores/digits-train*/images.npy": TOLD,
    "home/stores/digits-train*/labels.npy": TOLD,
    "home/stores/digits-train*/index.npy": TOLD,
    "home/stores/digits-train*/meta.json": TOLD,
}
SOON = ("last", "lock.json", "keras", "weights", "float16", "images.npy")  # the others: with the slow tests
CELLS = [
    pytest.param(name, damage, marks=[] if damage is flip and name.endswith(SOON) else pytest.mark.slow)
    for name in FILES
    for damage in (flip, cut)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), CELLS)
def test_damage_is_told_by_the_file_and_no_student_is_another(stopped, tmp_path, monkeypatch, name, damage):
    kept, whole = stopped
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    [file] = tmp_path.glob(name)
    file.write_bytes(damage(file.read_bytes()))
    monkeypatch.setattr(runs, "write_pictures", lambda *anything: None)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            kdrecipes.run(small(*RECIPE), tmp_path / "run")
        except KDRecipesError as error:
            assert str(file) in str(error) and type(error) is not RunError
            return
    told = [*(str(one.message) for one in warned), *(tmp_path / "run" / "log.txt").read_text().splitlines()]
    assert FILES[name] == UNUSED or any(
        "damaged" in text and (str(file) in text or str(file.parent) in text) for text in told
    )
    for a, b in zip(weights(tmp_path / "run"), whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_large_store_whose_image_changed_stops_the_run_and_the_same_command_mends_it(stopped, tmp_path, monkeypatch):
    kept, whole = stopped
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(store, "_READ_AGAIN", 0)
    monkeypatch.setattr(runs, "write_pictures", lambda *anything: None)
    with monkeypatch.context() as patch, training.observed(stopping), pytest.raises(KeyboardInterrupt):
        patch.setattr(keras.callbacks.Callback, "on_train_begin", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        kdrecipes.run(small(*RECIPE), tmp_path / "run")  # by which the checksums of its images are there
    [file] = tmp_path.glob("home/stores/digits-train*/images.npy")
    content = bytearray(file.read_bytes())
    content[128 + 50 * 8 * 8 * 3] ^= 1  # of an image that is used: the recipe takes the first 320
    file.write_bytes(content)
    with pytest.raises(EnvironmentProblem, match=f"{file} is damaged: image .* The same command builds the store"):
        kdrecipes.run(small(*RECIPE), tmp_path / "run")
    with pytest.warns(UserWarning, match="is damaged; it is built again"):
        kdrecipes.run(small(*RECIPE), tmp_path / "run")
    for a, b in zip(weights(tmp_path / "run"), whole, strict=True):
        np.testing.assert_array_equal(a, b)


def damages(file, ranges=16):
    """The file with a flipped bit, and cut off, in each range of it; it is whole again behind that."""
    draw, content = random.Random(0), file.read_bytes()
    for part in range(ranges):
        at = draw.randrange(part * len(content) // ranges, max((part + 1) * len(content) // ranges, 1))
        for spoilt in (
            content[:at] + bytes([content[at] ^ (1 << draw.randrange(7))]) + content[at + 1 :],
            content[:at],
        ):
            file.write_bytes(spoilt)
            yield at
    file.write_bytes(content)


def test_damage_in_any_range_of_a_runs_small_files_is_told_or_changes_nothing(stopped, tmp_path):
    shutil.copytree(stopped[0] / "run", tmp_path, dirs_exist_ok=True)
    recipe = small(*RECIPE)

    def read():
        with open_run(recipe, tmp_path, False) as folder:
            lock = read_json(tmp_path / "lock.json")
            return folder.rows, folder.teachers, folder.arms, {key: lock[key] for key in ("decisions", "origin")}

    whole, told = read(), []
    for name in ("lock.json", "history.jsonl", "facts/arms.json", "facts/teachers.json", "status.json"):
        for at in damages(tmp_path / name):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # of a status, which is written anew
                    assert read() == whole, (name, at)
            except UsageError as error:
                assert str(tmp_path / name) in str(error)
                told.append(name)
    assert len(told) > 100 and "status.json" not in told
    assert read() == whole


def test_a_decision_that_flips_is_never_followed(stopped, tmp_path, monkeypatch):
    shutil.copytree(stopped[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    lock = tmp_path / "run" / "lock.json"
    text = lock.read_text()
    assert '"use": false' in text
    lock.write_text(text.replace('"use": false', '"use": true', 1))
    with pytest.raises(UsageError, match=r"run/lock\.json can't be read \(ValueError: its content is not that of its"):
        kdrecipes.run(small(*RECIPE), tmp_path / "run")
    with pytest.raises(UsageError, match=r"run/lock\.json can't be read"):
        resumed(tmp_path / "run")


def test_damage_in_any_range_of_a_sweeps_files_is_told_or_changes_nothing(stopped, tmp_path):
    write_sweep(tmp_path, {"points": [{"validation_accuracy": 0.5}], "seeds": [0, 1]})
    sweep, told = SweepFolder(tmp_path), 0
    whole = sweep.read()
    for _ in damages(tmp_path / "sweep.json"):
        with pytest.raises(UsageError, match=r"sweep\.json can't be read"):
            sweep.read()
    arm = tmp_path / "arm"
    shutil.copytree(stopped[0] / "run" / "students", arm / "students")
    facts = asdict(read_arms(stopped[0] / "run")["baseline-0"])
    write_arrays(arm / "validation.npz", {"logits": np.arange(6, dtype=np.float32).reshape(3, 2)})
    write_sealed(arm / "arm.json", {"point": "000", "facts": facts, "rows": [{"epoch": 1, "loss": 0.5}]})
    kept = kept_arm(arm)
    for name in ("arm.json", "validation.npz", "students/baseline-0.keras"):
        for _ in damages(arm / name, 8):
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                found = kept_arm(arm)
            if found is None:
                assert [str(arm) in str(one.message) for one in warned] == [True]
                told += 1
            else:
                assert replace(found, logits=None) == replace(kept, logits=None)
                np.testing.assert_array_equal(found.logits, kept.logits)
    assert told > 40 and sweep.read() == whole


def test_what_was_decided_for_all_points_is_never_followed_when_it_flips(tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    recipe = small()
    parts = Parts(tmp_path, "cpu", Progress())
    data = parts.data(recipe)
    decided = parts.recalibrating(recipe, data)
    [file] = (tmp_path / "decisions").iterdir()
    for _ in damages(file, 8):
        try:
            assert parts.recalibrating(recipe, data) == decided
        except UsageError as error:
            assert str(file) in str(error) and "Remove it" in str(error)
    file.write_text(file.read_text().replace('"use": ', '"use": 1'))
    with pytest.raises(UsageError, match="its content is not that of its checksum"):
        parts.recalibrating(recipe, data)


def test_a_damaged_report_of_a_finished_run_is_told_and_made_anew(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(finished[0].parent / "home"))
    draw_charts(False)  # the run that is finished may have been made just now, with charts
    shutil.copytree(finished[0], tmp_path / "run")
    for content in ("{torn", '{"arms": [{}]}'):
        (tmp_path / "run" / "report.json").write_text(content)
        report = kdrecipes.run(small(), tmp_path / "run")
        assert report == json.loads((tmp_path / "run" / "report.json").read_text()) and report["status"] == "done"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count(f"Warning: {tmp_path / 'run' / 'report.json'} is damaged; the report is made anew") == 2


def test_a_recipe_in_the_facts_that_is_no_toml_is_told(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    file = tmp_path / "run" / "facts" / "recipe.json"
    file.write_text(json.dumps(read_json(file) | {"effective": "[train"}))
    with pytest.raises(UsageError, match=r"facts/recipe\.json can't be read \(TOMLDecodeError: "):
        rebuild_report(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_bits_of_a_finished_run_flip_there_is_no_traceback(finished, tmp_path, seed):
    draw, run = random.Random(seed), tmp_path / "run"
    shutil.copytree(finished[0], run)
    for file in [file for file in sorted(run.rglob("*")) if file.suffix in (".json", ".jsonl", ".npz", ".keras")]:
        content = file.read_bytes()
        spoilt = bytearray(content if draw.random() < 0.8 else content[: draw.randrange(len(content))])
        if spoilt:
            spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
        file.write_bytes(spoilt)
        for use in (rebuild_report, lambda run: kdrecipes.load_student(run / "students" / "kd-0.keras")):
            try:
                use(run)
            except KDRecipesError as error:
                assert str(run) in str(error)
        shutil.rmtree(run)
        shutil.copytree(finished[0], run)
