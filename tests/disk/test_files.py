"""Files and folders that appear whole or not at all, locks, and what a full disk is called."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

from kdrecipes.disk.files import disk_errors, locked, new_file, remove_unfinished, write_json
from kdrecipes.errors import EnvironmentProblem


@pytest.fixture(params=[0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_file_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    with new_file(path) as file:
        file.write(b"old")
    with new_file(path) as file:
        file.write(b"n")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b"ew")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), new_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_permissions_follow_the_umask(tmp_path, umask):
    write_json(tmp_path / "file", {})
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_json_keeps_every_letter(tmp_path):
    write_json(tmp_path / "file", {"name": "Çelik ✓"})
    assert (tmp_path / "file").read_bytes() == '{\n  "name": "Çelik ✓"\n}\n'.encode()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_message_with_the_folder(tmp_path, code):
    folder = tmp_path / "not" / "there" / "yet"
    with pytest.raises(EnvironmentProblem, match=r"is full \(.* free\). Make room") as caught, disk_errors(folder):
        raise OSError(code, os.strerror(code))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG])
def test_what_cannot_be_written_is_one_message_with_the_folder(tmp_path, code):
    with pytest.raises(EnvironmentProblem) as caught, disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == f"{tmp_path} can't be written: {os.strerror(code)}."


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(InterruptedError), disk_errors(tmp_path):
        raise InterruptedError(errno.EINTR, "interrupted")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "stores").write_text("a file")
    for path in (tmp_path / "stores" / "x", tmp_path / "stores" / "y" / "x"):
        with pytest.raises(EnvironmentProblem, match=r"stores.* can't be written: "), new_file(path):
            pass
        with pytest.raises(EnvironmentProblem, match=r"stores.* can't be written: "), locked(path):
            pass


def test_a_lock_excludes_other_processes_and_dies_with_its_owner(tmp_path):
    path = tmp_path / "deep" / "lock"
    code = "import sys; from pathlib import Path; from kdrecipes.disk.files import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout and owner.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentProblem, match="somebody is in there"), locked(path, "somebody is in there"):
            pass
        owner.kill()
    with locked(path, "somebody is in there"):
        assert path.is_file()


def test_a_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError), locked(tmp_path / "lock"):
        raise ValueError
    with locked(tmp_path / "lock", "busy"):
        pass


def test_a_lock_keeps_out_the_same_process_and_outlives_its_use(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        with pytest.raises(EnvironmentProblem, match="somebody is in there"), locked(path, "somebody is in there"):
            pass
        # A second holder that failed freed nothing.
        with pytest.raises(EnvironmentProblem, match="somebody is in there"), locked(path, "somebody is in there"):
            pass
    assert path.is_file()


def test_who_waits_for_a_lock_is_told_once_and_gets_it(tmp_path):
    path, told, order = tmp_path / "lock", threading.Event(), []

    def second():
        with locked(path, waiting=lambda: (order.append("waiting"), told.set())):
            order.append("held")

    thread = threading.Thread(target=second)
    with locked(path):
        thread.start()
        assert told.wait(10)
        order.append("free")
    thread.join(10)
    assert order == ["waiting", "free", "held"]


def test_a_lock_is_a_flock_as_earlier_versions_took_it(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "lock"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(EnvironmentProblem, match="busy"), locked(path, "busy"):
            pass
    with locked(path), path.open("a") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, code):
    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("filelock.lock_descriptor", refuse)
    expected = f"{tmp_path} is on a file system that can't lock files: {os.strerror(code)}. Choose a folder on another."
    with pytest.raises(EnvironmentProblem) as caught, locked(tmp_path / "lock"):
        pass
    assert str(caught.value) == expected


def test_names_that_are_not_utf8_are_escaped_in_text_and_come_back_from_json(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "a.json", {name: "é"})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {name: "é"}
    with new_file(tmp_path / "a.html", "w") as file:
        file.write(name)
    assert (tmp_path / "a.html").read_bytes() == rb"caf\udce9"


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "state").mkdir()
    for name in (".status.json.0123456789ab", "state/.next.ba9876543210", ".lock", ".mine.txt", "status.json"):
        (tmp_path / name).touch()
    (tmp_path / ".passing.0123456789ab").mkdir()
    (tmp_path / ".passing.0123456789ab" / "kd-0.keras").touch()
    (tmp_path / ".backup.0123456789ab").mkdir()
    remove_unfinished(tmp_path)
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"state", ".lock", ".mine.txt", "status.json", ".backup.0123456789ab"}


def test_of_one_file_alone_nothing_else_is_removed(tmp_path):
    """Another process may be writing the others."""
    for name in (".a.json.0123456789ab", ".b.json.0123456789ab", "a.json", ".a.json.txt"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, "a.json")
    assert {path.name for path in tmp_path.iterdir()} == {".b.json.0123456789ab", "a.json", ".a.json.txt"}
