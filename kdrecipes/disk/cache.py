"""What is kept under KDRECIPES_HOME: listed with its size, and removed on request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from kdrecipes.disk.files import disk_errors, locked
from kdrecipes.disk.home import MADE, OWN, home
from kdrecipes.disk.owners import foreign
from kdrecipes.errors import EnvironmentProblem, UsageError
from kdrecipes.wording import nearest

DOWNLOADS = ("fashion_mnist", "tfds", "weights")  # what came from elsewhere, or was put there by hand
KINDS = (*MADE, "downloads")
_SERVED = "served"  # the folder in an entry that holds an empty file for each recipe


@dataclass(frozen=True)
class Entry:
    """One thing that is kept.

    Attributes:
        kind: "stores" (decoded images), "teachers" (fine-tuned weights), "outputs" (teachers' logits), "downloads".
        name: of its file or folder.
        path: where it is.
        bytes: its size.
        used: when one of its files was last read or written, in seconds since 1970; as exact as the file system notes.
        served: names of the recipes whose runs used it, as far as they noted it down; always empty of a download.
    """

    kind: str
    name: str
    path: Path
    bytes: int
    used: float
    served: tuple[str, ...] = ()

    def locks(self) -> list[Path]:
        """What a process holds that is making it; stores and downloads are locked by what they are made of."""
        if self.kind == "teachers":
            files = [self.path / ".lock"]
        elif self.kind == "outputs":
            files = [self.path.parent / ".locks" / self.name]
        elif self.name == "weights":
            files = sorted(self.path.glob(".*.lock"))
        else:
            folder = (self.path.parent if self.kind == "stores" else self.path) / ".locks"
            files = sorted(folder.iterdir()) if folder.is_dir() else []
        return [file for file in files if file.is_file()]


def entries() -> list[Entry]:
    """Everything that is kept, by kind and name.

    Raises:
        EnvironmentProblem: when there is no folder for it, or it can't be read.
    """
    where, found = home(), []
    if os.path.lexists(where) and not os.path.isdir(where):
        raise EnvironmentProblem(f"{where} is a file. Set KDRECIPES_HOME to a folder.")
    try:
        for kind in MADE:
            folder = where / kind
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            found += [_entry(kind, folder / name) for name in names if name != ".locks"]
        return found + [_entry("downloads", where / name) for name in DOWNLOADS if os.path.lexists(where / name)]
    except PermissionError as error:
        raise EnvironmentProblem(
            f"{where} can't be read: {error.strerror}. Set KDRECIPES_HOME to another folder."
        ) from error


def _entry(kind: str, path: Path) -> Entry:
    size, used = 0, 0.0
    for file in _files(path):
        try:
            facts = file.lstat()
        except FileNotFoundError:  # removed meanwhile
            continue
        size, used = size + facts.st_size, max(used, facts.st_atime, facts.st_mtime)
    return Entry(kind, path.name, path, size, used or path.lstat().st_mtime, _served(path) if kind in MADE else ())


def note_served(path: Path, recipe: str) -> None:
    """Note in an entry that it served a recipe's run: an empty file of that name, so that nothing has to be locked.

    Args:
        path: the entry's folder; one that was removed meanwhile stays so.
        recipe: the recipe's name.
    """
    with suppress(OSError):  # nothing that a run needs: another's cache may be read-only
        (path / _SERVED).mkdir(exist_ok=True)
        (path / _SERVED / recipe).touch()


def _served(path: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(path / _SERVED)))
    except OSError:
        return ()


def _files(path: Path) -> Iterable[Path]:
    """The files of an entry; links are not followed, since what they lead to is somebody else's."""
    if path.is_symlink() or not path.is_dir():
        return [path]
    return [Path(folder, name) for folder, _, names in os.walk(path) for name in names]


def select(names: Iterable[str], kept: list[Entry]) -> list[Entry]:
    """The entries that `names` mean: names of entries, kinds, or "all", which leaves downloads alone.

    Raises:
        UsageError: for a name that nothing has, and for a download, which is only removed with all of its kind.
    """
    chosen: dict[Path, Entry] = {}
    for name in names:
        meant = [entry for entry in kept if name in (entry.kind, entry.name) or (name == "all" and entry.kind in MADE)]
        if not meant and name not in (*KINDS, "all"):
            near = nearest(name, [*KINDS, "all", *(entry.name for entry in kept)])
            hint = f"did you mean {near!r}?" if near else "`kdrecipes cache list` shows what there is."
            raise UsageError(f"Nothing of this name is kept in {home()}. Received: {name!r}; {hint}")
        if any(entry.kind == "downloads" for entry in meant) and name != "downloads":
            raise UsageError(
                f"{name!r} came from elsewhere, and a run may not be able to get it again. It is removed only by the "
                'name of its kind, "downloads", with all others.'
            )
        chosen |= {entry.path: entry for entry in meant}
    return list(chosen.values())


def remove(entry: Entry) -> None:
    """Remove an entry.

    A run that has its files open keeps them until it ends.

    Raises:
        EnvironmentProblem: when a process is making it, it holds what belongs to another user, or it can't be removed.
    """
    for found in foreign(entry.path):
        raise EnvironmentProblem(f"{entry.kind} {entry.name}: {found}; it was left. {OWN}")
    busy = f"{entry.kind} {entry.name}: a running process is making it, or one of its kind; it was left."
    with ExitStack() as stack, disk_errors(entry.path):
        for lock in entry.locks():
            stack.enter_context(locked(lock, busy))
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink(missing_ok=True)
