"""Another user than the one who runs the tests, and files that are given to him."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

OTHER = 54321  # whom no system knows


def giving_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """What makes a file another user's: by its owner where root asks, else by what the system tells of it."""
    given, real, as_root = set(), os.lstat, os.geteuid() == 0

    def lstat(path: Path, **more: int) -> os.stat_result:
        facts = real(path, **more)
        return os.stat_result((*facts[:4], OTHER, *facts[5:])) if Path(path) in given else facts

    def give_away(path: Path) -> None:
        if as_root:
            os.lchown(path, OTHER, OTHER)
        else:
            monkeypatch.setattr(os, "lstat", lstat)
            given.add(path)

    return give_away
