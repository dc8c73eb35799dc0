"""Folders for what can't be written straight to its place: in a run they lie in its folder, where none is forgotten."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdrecipes.disk.files import disk_errors

_runs: list[Path] = []  # the folders of the runs that go on in this process, the newest last


@contextmanager
def passing_within(run: Path) -> Iterator[None]:
    """In the block passing folders are made in a run's folder, in which `remove_unfinished` finds a killed run's."""
    _runs.append(run)
    try:
        yield
    finally:
        _runs.pop()


def new_passing_folder(parent: Path | None = None) -> Path:
    """A new folder, which whoever asks for it removes.

    Args:
        parent: where; created where it is missing. Default: the run's folder, outside a run the system's for temporary
            files.
    """
    parent = parent or (_runs[-1] if _runs else Path(tempfile.gettempdir()))
    folder = parent / f".passing.{secrets.token_hex(6)}"
    with disk_errors(parent):
        folder.mkdir(parents=True)
    return folder


@contextmanager
def passing_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, which is removed with all that is in it when the block ends; `parent` as above."""
    folder = new_passing_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
