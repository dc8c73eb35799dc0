"""A file of a run or of the home that is cut off or has a flipped bit: told by name, and never trained on silently."""

import shutil
import warnings

import numpy as np
import pytest
from samples import small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import KDRecipesError, RunError
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
