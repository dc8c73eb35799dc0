"""Where caches live, and how a file or folder gets its final name only when it is whole."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdrecipes.errors import EnvironmentProblem


def home() -> Path:
    """`KDRECIPES_HOME`, default `~/.cache/kdrecipes`."""
    return Path(os.environ.get("KDRECIPES_HOME") or "~/.cache/kdrecipes").expanduser()


def digest(*facts: Any) -> str:
    """sha256 (hex) of JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def readable_bytes(size: float) -> str:
    """`141557760` → `"142 MB"`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one message that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            free = readable_bytes(shutil.disk_usage(_existing(folder)).free)
            raise EnvironmentProblem(
                f"The disk that holds {folder} is full ({free} free). Make room and run the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise EnvironmentProblem(f"{folder} can't be written: {error.strerror}.") from error
        raise


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


@contextmanager
def new_file(path: Path, mode: str = "wb") -> Iterator[Any]:
    """Write a file that appears under its name, whole and synced, only when the block ends without an error."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    with new_file(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold an exclusive `flock`, which the kernel frees when the process dies, however it dies.

    Args:
        path: the lock file, created where it is missing.
        busy: the message of the EnvironmentProblem raised when another process holds it; None waits instead.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise EnvironmentProblem(str(busy)) from None
        yield
