"""State files: whole or not there, damage detected, the older one used."""

import errno
import itertools
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from kdrecipes.backend import keras
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.training import state
from kdrecipes.training.keeper import Keeper
from kdrecipes.training.state import StateFolder

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2], np.uint32), np.float32(3.5)]


def test_round_trip_keeps_values_dtypes_order_and_record(tmp_path):
    state.save(tmp_path / "s", ARRAYS, {"epoch": 3})
    arrays, meta = state.load(tmp_path / "s")
    assert meta == {"epoch": 3} and len(arrays) == 3
    for mine, theirs in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40], lambda b: b"", lambda b: b[:-9] + b"x" + b[-8:]]
)
def test_a_damaged_state_is_not_loaded(tmp_path, damage):
    state.save(tmp_path / "s", ARRAYS, {})
    (tmp_path / "s").write_bytes(damage((tmp_path / "s").read_bytes()))
    assert state.load(tmp_path / "s") is None


def test_previous_state_is_used_when_the_last_is_damaged(tmp_path):
    folder = StateFolder(tmp_path)
    folder.save(ARRAYS, {"epoch": 1})
    folder.save(ARRAYS, {"epoch": 2})
    assert folder.load()[1] == {"epoch": 2}
    folder.last.write_bytes(b"torn")
    with pytest.warns(UserWarning, match="damaged; continuing from"):
        assert folder.load()[1] == {"epoch": 1}
    folder.prev.write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"last and .*prev is damaged; the fit begins again"):
        assert folder.load() is None
    folder.clear()
    assert folder.load() is None


@pytest.mark.parametrize(
    ("arrays", "meta", "said"),
    [
        ([np.ones(3, np.float32)], {"rows": []}, "it is of another network"),
        ([np.array(["a", "b"])], {"rows": []}, "it holds text"),
        ([np.ones(2, np.float32)], {"rows": 1}, "TypeError"),
        ([np.ones(2, np.float32)], {"rows": [], "steps": "many"}, "ValueError"),
        ([np.ones(2, np.float32)], {}, "KeyError"),
        ([np.ones(2, np.float32)], {"rows": [], "generators": {"torch": {"cpu": "AAAA"}}}, "RuntimeError"),
        ([np.ones(2, np.float32)], {"rows": [], "generators": {"torch": {}, "numpy": 1}}, "TypeError"),
    ],
)
def test_a_whole_state_that_is_not_this_fits_is_one_message_with_its_place(tmp_path, arrays, meta, said):
    StateFolder(tmp_path).save(arrays, {"label": "kd-0", "steps": 0, "seconds": 0.0, "figures": []} | meta)
    variable = keras.Variable(np.zeros(2, np.float32))
    keeper = Keeper([variable], StateFolder(tmp_path), "kd-0", lambda rows: None)
    with pytest.raises(RunError, match=f"{tmp_path} holds a state that is not this fit's .*{said}.* Remove it"):
        keeper.resume()
        keeper.put_back()


def test_full_disk_while_saving_is_one_message_and_keeps_the_older_state(tmp_path, monkeypatch):
    folder = StateFolder(tmp_path)
    folder.save(ARRAYS, {"epoch": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kdrecipes.disk.files.os.fsync", full)
    with pytest.raises(EnvironmentProblem, match="is full"):
        folder.save(ARRAYS, {"epoch": 2})
    monkeypatch.undo()
    assert folder.load()[1] == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


class PowerCut(BaseException):
    pass


def cut_at(patch, number):
    """Files as a disk keeps them whose power is cut before its operation of this number: unsynced bytes are lost."""
    done, off = itertools.count(), []

    def before(operation, lost=lambda *given: None):
        def guarded(*given):
            if off or next(done) == number:
                off.append(lost(*given))
                raise PowerCut
            return operation(*given)

        return guarded

    def halve(file):
        if stat.S_ISREG(os.fstat(file).st_mode):  # of a folder there is nothing to lose but its names
            os.truncate(file, os.fstat(file).st_size // 2)

    unlink = Path.unlink
    patch.setattr(os, "fsync", before(lambda file: None, halve))
    patch.setattr(Path, "replace", before(Path.replace))
    patch.setattr(Path, "unlink", lambda path, missing_ok=False: None if off else unlink(path, missing_ok))


@pytest.mark.filterwarnings("ignore:.* is damaged")
@pytest.mark.parametrize("torn", [False, True])
def test_a_power_cut_at_any_operation_of_a_save_leaves_a_whole_state(tmp_path, monkeypatch, torn):
    for number in itertools.count():
        place = tmp_path / str(number)
        folder = StateFolder(place)
        folder.save(ARRAYS, {"epoch": 1})
        folder.save(ARRAYS, {"epoch": 2})
        if torn:  # then the state before it must not give way to it
            folder.last.write_bytes(b"torn")
        folder = StateFolder(place)
        before = folder.load()[1]["epoch"]
        assert before == (1 if torn else 2)
        with monkeypatch.context() as patch:
            cut_at(patch, number)
            try:
                folder.save(ARRAYS, {"epoch": 3})
                break
            except PowerCut:
                pass
        assert StateFolder(place).load()[1]["epoch"] in (before, 3)
        StateFolder(place).clear()
        assert not list(place.iterdir())
    assert number >= 4


def test_what_a_disk_does_not_give_back_is_told_and_the_older_state_stays(tmp_path, monkeypatch):
    folder = StateFolder(tmp_path)
    folder.save(ARRAYS, {"epoch": 1})
    write = state.save

    def forgetful(path, arrays, meta):
        write(path, arrays, meta)
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    monkeypatch.setattr(state, "save", forgetful)
    with pytest.raises(EnvironmentProblem, match="next was written and can't be read back"):
        folder.save(ARRAYS, {"epoch": 2})
    assert StateFolder(tmp_path).load()[1] == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
