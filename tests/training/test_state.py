"""State files: whole or not there, damage detected, the older one used."""

import errno

import numpy as np
import pytest

from kdrecipes.errors import EnvironmentProblem
from kdrecipes.training import state
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
    folder.clear()
    assert folder.load() is None


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
    assert [p.name for p in tmp_path.iterdir()] == ["prev"]
