"""How a file or folder gets its final name only when it is whole; locks; what a full disk is told as."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from kdrecipes.errors import EnvironmentProblem, one_line
from kdrecipes.wording import readable_bytes

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def is_disk_error(error: OSError) -> bool:
    """Whether the disk is full, or something on it can't be written."""
    return error.errno in (*_FULL, *_NOT_WRITABLE)


@contextmanager
def disk_errors(path: Path, mend: str = "") -> Iterator[None]:
    """Turn a full or read-only disk into one message that names the file or folder that is being written.

    `mend`: what to do where it can't be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            free = readable_bytes(shutil.disk_usage(existing(path)).free)
            raise EnvironmentProblem(
                f"The disk that holds {path} is full ({free} free). Make room and run the same command again."
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise EnvironmentProblem(f"{path} can't be written: {error.strerror}. {mend}".rstrip()) from error
        raise


def of_the_system(error: OSError) -> EnvironmentProblem:
    """What is said of an error of the system which no place of ours expects: the file, the reason, and a mend."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    mend = ""
    if error.errno in _TOO_MANY_FILES:
        mend = " Allow more of them, for example by `ulimit -n 1024`, and run the same command again."
    return EnvironmentProblem(f"{where}{error.strerror or one_line(error)}.{mend}")


def lacking(error: BaseException | None) -> MemoryError | OSError | None:
    """What the process lacked when an error came about, memory or open files; None of any other error.

    Such an error says nothing of the file that it was met at.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _TOO_MANY_FILES):
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def raise_what_lacks(error: Exception) -> None:
    """Raise what the process lacks, where that is why an error came about; else nothing happens.

    Raises:
        MemoryError: there is no more memory.
        EnvironmentProblem: too many files are open.
    """
    lack = lacking(error)
    if isinstance(lack, OSError):
        raise of_the_system(lack) from error
    if lack is not None:
        raise lack


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there; of a file the one that it is in."""
    while not folder.is_dir():
        folder = folder.parent
    return folder


@contextmanager
def new_file(path: Path, mode: str = "wb") -> Iterator[Any]:
    """Write a file that appears under its name, whole and synced, only when the block ends without an error."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path)
        try:
            encoding, errors = (None, None) if "b" in mode else ("utf-8", "backslashreplace")
            # Bytes of a file's name that are not UTF-8 are escaped, and JSON reads them back as they were.
            with temporary.open(mode.replace("w", "x"), encoding=encoding, errors=errors) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _temporary_name(path: Path) -> Path:
    import secrets  # 3 ms, which nothing that only reads has to wait for

    # Made by open(), not by tempfile, so that its permissions follow the umask.
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove files and passing folders that were begun in a folder, or below it, by a process that was killed.

    Args:
        folder: which no other process writes to now.
        name: of the one file in the folder itself that no other process writes now. Default: all, below it too.
    """
    for path in list(folder.rglob(".*") if name == "*" else folder.glob(f".{name}.*")):
        if not re.fullmatch(r"\..+\.[0-9a-f]{12}", path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            if not path.name.startswith(".passing."):
                continue  # whoever made it
            shutil.rmtree(path, ignore_errors=True)
            continue
        with suppress(OSError):  # it is in nobody's way
            path.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    with new_file(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def remove_entries(folder: Path, names: Iterable[str]) -> None:
    """Remove files and folders of these names, in their order, and nothing else; those that are not there are skipped.

    Raises:
        EnvironmentProblem: when one can't be removed.
    """
    with disk_errors(folder):
        for name in names:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    if os.name == "nt":  # Windows opens no folder as a file
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, busy: str | None = None, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock, which the system frees when the process dies, however it dies.

    It is a `flock` (`LockFileEx` on Windows) of an open file: it also keeps out other threads, and the same thread a
    second time. The file stays when the lock is free again, since others may be waiting with it open.

    Args:
        path: the lock file, created where it is missing.
        busy: the message of the EnvironmentProblem raised when another process holds it; None waits instead.
        waiting: called once before waiting begins.

    Raises:
        EnvironmentProblem: `busy`; or the file can't be created, or its file system has no locks.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        if not _lock(file, path, wait=False):
            if busy:
                raise EnvironmentProblem(busy)
            if waiting:
                waiting()
            _lock(file, path, wait=True)
        # Closing the file frees it. No unlocking: a forked process that came by here would free its parent's lock.
        yield


@contextmanager
def tried_lock(path: Path) -> Iterator[bool]:
    """Hold a lock as `locked` does, if nobody holds it; gives whether it is held.

    Raises:
        EnvironmentProblem: as for `locked`.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        yield _lock(file, path, wait=False)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock now; True too where that can't be found out.

    The lock is taken for a moment to see: ask only where nobody is likely to begin just now.

    Args:
        path: the lock file; where it is missing nobody holds it.
    """
    try:
        with path.open("a" if os.access(path, os.W_OK) else "r") as file:
            return not _lock(file, path, wait=False)
    except FileNotFoundError:
        return False
    except (OSError, EnvironmentProblem):
        return True


def _lock(file: IO[str], path: Path, *, wait: bool) -> bool:
    """Whether the open file is locked now; True where it waits."""
    # Imported late: `kdrecipes validate` locks nothing. The descriptor is locked, not a `FileLock` of the path: where
    # there is no flock that one falls back to a file that outlives a killed process, and some versions of it delete the
    # lock file.
    from filelock import lock_descriptor

    try:
        return lock_descriptor(file.fileno(), blocking=wait)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise EnvironmentProblem(
                f"{path.parent} is on a file system that can't lock files: {error.strerror}. "
                "Choose a folder on another."
            ) from error
        raise
