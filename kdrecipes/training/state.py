"""Training state on disk: two checksummed files, `last` and `prev`, each whole or not there at all."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.disk.files import new_file
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
    """What `save` wrote; None where the file is missing or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentProblem(f"{path} can't be read: {error.strerror}.") from error
    head, payload = content[: len(_MAGIC) + 65], content[len(_MAGIC) + 65 :]
    if head != _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n":
        return None
    with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
        arrays = [stored[f"a{i}"] for i in range(len(stored.files) - 1)]
        return arrays, json.loads(stored["meta"].tobytes())


class StateFolder:
    """`last` and `prev` in one folder; `prev` is what `last` was one save ago."""

    def __init__(self, folder: Path):
        self.last, self.prev = folder / "last", folder / "prev"

    def save(self, arrays: list[np.ndarray], meta: dict[str, Any]) -> None:
        """Keep the old `last` as `prev` and write a new `last`."""
        if self.last.exists():
            self.last.replace(self.prev)
        save(self.last, arrays, meta)

    def load(self) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """The newest whole state; None where there is none. A damaged `last` is told and `prev` used."""
        found = load(self.last)
        if found is None and (found := load(self.prev)) is not None and self.last.exists():
            warnings.warn(f"{self.last} is damaged; continuing from {self.prev}, one epoch earlier.", stacklevel=2)
        return found

    def clear(self) -> None:
        """Remove both: the arm they belong to is finished."""
        self.last.unlink(missing_ok=True)
        self.prev.unlink(missing_ok=True)
