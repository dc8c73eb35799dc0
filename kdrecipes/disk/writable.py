"""Whether folders that will be written can be, asked before anything is done that would be lost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kdrecipes.errors import EnvironmentProblem, UsageError


def refuse_file(path: Path) -> None:
    """Refuse a path of a folder at which a file lies.

    Raises:
        UsageError: when one does.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file. Choose another folder with --out.")


def refuse_read_only(folders: Iterable[Path], mend: str) -> None:
    """Refuse folders of which one is there and can't be written by this user; what is missing is made later.

    Raises:
        EnvironmentProblem: naming the folder; its text ends with `mend`.
    """
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise EnvironmentProblem(f"{folder} can't be written. {mend}")
