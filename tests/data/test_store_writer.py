"""How a store comes to be: room on the disk, one writer of several processes, an interrupted one continued."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stored import BUILDER, Source, Stopping, line, opened, pictures, stores

from kdrecipes.data import store as store_module
from kdrecipes.disk.home import home
from kdrecipes.errors import EnvironmentProblem

pytestmark = pytest.mark.usefixtures("home")


def test_room_is_looked_for_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: type("usage", (), {"free": 7500}))
    source = Source(pictures(100))
    with pytest.raises(
        EnvironmentProblem, match=r"^pets train: its store needs 8 kB under .*home and 8 kB is free. Make"
    ):
        opened(source)
    assert stores() == [] and source.reads < 100


@pytest.mark.parametrize("limit", [0, 1000, 5000])
def test_a_disk_that_fills_up_is_one_message_and_leaves_nothing_that_is_of_no_use(limit):
    """A limit on the size of files stands for the full disk: in the header, in the pixels, in the labels."""
    source = Source(pictures(1000, 1, 1))  # 3 kB of pixels, 8 kB of labels
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(EnvironmentProblem) as caught:
            opened(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"The disk that holds {home() / 'stores'} is full (")
    assert stores() == []
    assert len(opened(source)) == 1000


def test_no_room_for_the_last_sync_is_the_same_message(monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kdrecipes.data.store_writer.os.fsync", full)
        with pytest.raises(EnvironmentProblem, match=r"is full \(.* free\)"):
            opened(Source(pictures(4)))
    assert stores() == []


def test_a_file_where_the_stores_should_be_is_named():
    home().mkdir(parents=True)
    (home() / "stores").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match=r"stores.* can't be written: "):
        opened(Source(pictures(2)))


def builder() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", BUILDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_builds_and_both_have_the_store():
    with builder() as first:
        assert (line(first), line(first)) == ("opening", "reading")
        with builder() as second:
            assert line(second) == "opening"
            answers = [first.communicate("go\n")[0].split(), second.communicate("go\n")[0].split()]
    assert answers[0][:3] == ["done", "True", "50"] and answers[1][:3] == ["done", "False", "50"]
    assert answers[0][3] == answers[1][3] and len(stores()) == 1


def test_a_killed_builder_blocks_nobody_and_what_it_left_is_continued():
    with builder() as first:
        assert (line(first), line(first)) == ("opening", "reading")
        first.kill()
    (half,) = stores()
    assert half.name.startswith(".n-")
    (half / ".journal.jsonl.0123456789ab").touch()
    with builder() as second:
        out, _ = second.communicate("go\n")
    (whole,) = stores()
    assert "done True 50" in out and half.name.startswith(f".{whole.name}.")
    assert not list(whole.glob(".*")), "what was being written became part of the store"


def half_done(monkeypatch, at=30, **settings):
    """(what an undisturbed run makes of 50 pictures, two of them unreadable, a source of which 24 were decoded)"""
    monkeypatch.setattr(store_module, "_CHUNK", 8)
    images = [*pictures(50)]
    images[3] = images[41] = ValueError("damaged")
    settings |= {"image_size": 5, "store_size": 5}
    whole = opened(Source(images, fingerprint="undisturbed"), **settings)
    source = Stopping(images)
    source.at = at
    with pytest.raises(KeyboardInterrupt):
        opened(source, **settings)
    source.at, source.reads = None, 0
    return whole, source, settings


def test_an_interrupted_decoding_is_continued(monkeypatch):
    whole, source, settings = half_done(monkeypatch)
    seen = []
    store = opened(source, **settings, progress=lambda done, *_: seen.append(done))
    assert source.reads == 26 and seen[0] == 24 and seen[-1] == 50
    assert store.fingerprint == whole.fingerprint and store.skipped == whole.skipped
    assert np.array_equal(store.images, whole.images) and np.array_equal(store.index, whole.index)
    assert len(stores()) == 2


def test_a_disk_that_filled_up_halfway_costs_nothing(monkeypatch):
    whole, source, settings = half_done(monkeypatch)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kdrecipes.data.store_writer.os.fsync", full)
        with pytest.raises(EnvironmentProblem, match=r"is full \(.* free\)"):
            opened(source, **settings)
    source.reads = 0
    assert opened(source, **settings).fingerprint == whole.fingerprint and source.reads == 26


def draft() -> Path:
    [folder] = [path for path in stores() if path.name.endswith(".draft")]
    return folder


def flip_a_pixel(folder: Path) -> None:
    with (folder / "images.npy").open("r+b") as file:
        file.seek(128 + 10 * 75)  # in the second chunk: the first has seven pictures
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def shorten(file: Path, count: int) -> None:
    os.truncate(file, file.stat().st_size - count)


def test_a_draft_survives_being_interrupted_while_it_is_taken_up(monkeypatch):
    whole, source, settings = half_done(monkeypatch)

    @contextlib.contextmanager
    def stopped(*args):
        yield io.StringIO()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kdrecipes.data.store_writer.new_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            opened(source, **settings)
    source.reads = 0
    assert opened(source, **settings).fingerprint == whole.fingerprint and source.reads == 26


DRAFT_DAMAGE = {
    "a pixel flipped": (flip_a_pixel, 8),
    "pixels cut": (lambda folder: os.truncate(folder / "images.npy", 128 + 16 * 75), 16),
    "pixels gone": (lambda folder: (folder / "images.npy").unlink(), 0),
    "a line half written": (lambda folder: shorten(folder / "journal.jsonl", 9), 16),
    "journal gone": (lambda folder: (folder / "journal.jsonl").unlink(), 0),
    "pixels beyond the journal": (lambda folder: (folder / "images.npy").open("ab").write(b"x" * 999), 24),
}  # fmt: skip


@pytest.mark.parametrize("damage, kept", DRAFT_DAMAGE.values(), ids=DRAFT_DAMAGE)
def test_what_a_power_cut_left_is_believed_as_far_as_it_is_sound(monkeypatch, damage, kept):
    whole, source, settings = half_done(monkeypatch)
    damage(draft())
    store = opened(source, **settings)
    assert source.reads == 50 - kept and store.fingerprint == whole.fingerprint
