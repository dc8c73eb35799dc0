"""Training state on disk: checksummed files, `last` and `prev`, each whole or not there at all."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.disk.files import disk_errors, new_file, sync_folder
from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.errors import EnvironmentProblem

_MAGIC = b"kdrecipes state 1\n"


def save(path: Path, arrays: list[np.ndarray], meta: dict[str, Any]) -> None:
    """Write arrays and a JSON-able record as one file with a checksum; the file appears only when it is whole."""
    buffer = io.BytesIO()
    stored: dict[str, Any] = {f"a{i}": array for i, array in enumerate(arrays)}
    stored["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(buffer, **stored)
    payload = buffer.getvalue()
    with new_file(path) as file:
        file.write(_MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n")
        file.write(payload)


def load(path: Path) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """What `save` wrote; None where the file is missing, damaged or none that `save` writes."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentProblem(f"{path} can't be read: {error.strerror}.") from error
    head, payload = content[: len(_MAGIC) + 65], content[len(_MAGIC) + 65 :]
    if head != _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n":
        return None
    try:  # the checksum says that nobody changed it by accident, not that it is harmless
        stored = read_npz(io.BytesIO(payload))
        meta = json.loads(stored.pop("meta").tobytes())
        arrays = [stored[f"a{i}"] for i in range(len(stored))]
    except (ValueError, KeyError, RecursionError):
        return None
    return (arrays, meta) if isinstance(meta, dict) else None


def _is_whole(path: Path) -> bool:
    """Whether a file is as `save` wrote it."""
    with path.open("rb") as file:
        told = file.read(len(_MAGIC) + 65)
        return told == _MAGIC + hashlib.file_digest(file, "sha256").hexdigest().encode() + b"\n"


class StateFolder:
    """`last` and `prev` in one folder; `prev` is what `last` was one save ago.

    A save writes `next`, reads it back, and then renames it. So at any moment one of the three is whole, once one was,
    whatever ends the process.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.next, self.last, self.prev = folder / "next", folder / "last", folder / "prev"
        self._last_is_whole = False  # as far as is known; only then may it take the place of `prev`

    def save(self, arrays: list[np.ndarray], meta: dict[str, Any]) -> None:
        """Keep the old `last` as `prev` and have a new `last`.

        Raises:
            EnvironmentProblem: when the disk is full, can't be written, or does not give back what was written. The
                state before stays.
        """
        save(self.next, arrays, meta)
        if not _is_whole(self.next):
            self.next.unlink(missing_ok=True)
            raise EnvironmentProblem(f"{self.next} was written and can't be read back. The disk may be damaged.")
        with disk_errors(self.folder):
            if self._last_is_whole:
                self.last.replace(self.prev)
            self.next.replace(self.last)
            sync_folder(self.folder)
        self._last_is_whole = True

    def load(self) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """The newest whole state; None where there is none. A damaged file is told, and the state before it used."""
        damaged: list[Path] = []
        for path in (self.next, self.last, self.prev):
            if (found := load(path)) is not None:
                self._last_is_whole = path == self.last
                if damaged:
                    told = " and ".join(map(str, damaged))
                    warnings.warn(f"{told} is damaged; continuing from {path}, which is older.", stacklevel=2)
                return found
            if path.exists():
                damaged.append(path)
        if damaged:
            warnings.warn(f"{' and '.join(map(str, damaged))} is damaged; the fit begins again.", stacklevel=2)
        return None

    def clear(self) -> None:
        """Remove all, what a killed process left half written too: the fit they belong to is finished."""
        for path in (self.next, self.last, self.prev, *self.folder.glob(".*")):
            path.unlink(missing_ok=True)
        self._last_is_whole = False
