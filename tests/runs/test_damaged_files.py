"""A file of a run or of the home that is cut off or has a flipped bit: told by name, and never trained on silently."""

import json
import random
import shutil
import warnings

import numpy as np
import pytest
from charts import draw_charts
from samples import small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import KDRecipesError, RunError, UsageError
from kdrecipes.report.build import rebuild_report
from kdrecipes.runs import run as runs
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
    file.write_text(json.dumps(json.loads(file.read_text()) | {"effective": "[train"}))
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
