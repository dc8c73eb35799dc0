"""An array on disk that is filled in chunks of rows: an interrupted filling continues, and damage is found."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdrecipes.disk.files import disk_errors, write_json
from kdrecipes.disk.json_files import read_json

CHUNK = 2048  # rows written, synced and journaled at once


@dataclass(frozen=True)
class ChunkedArray:
    """The rows of an array, one after the other in a file, and a journal of checksums beside it, one for each chunk.

    A chunk is written and synced before its checksum enters the journal, which is replaced atomically. So what the
    journal names was on the disk, and what a kill or a power cut left beside that is written again.

    Attributes:
        path: the file.
        dtype: of the array.
        shape: rows, columns.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, int]

    @property
    def journal(self) -> Path:
        """A JSON list of checksums, null for a chunk that is not there yet."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.shape[1] * self.dtype.itemsize

    def rows(self, chunk: int) -> range:
        """The rows of a chunk."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.shape[0]))

    def open(self) -> np.ndarray:
        """The rows, memory-mapped, read-only.

        Raises:
            OSError, ValueError: when the file is missing or too short.
        """
        return np.memmap(self.path, self.dtype, "r", shape=self.shape)

    def missing(self) -> list[int]:
        """The chunks that are not there. Every one that is there is read; a warning tells how many are damaged."""
        sums = self._sums()
        if not any(sums):
            return list(range(len(sums)))
        with self.path.open("rb") if self.path.exists() else open(os.devnull, "rb") as file:
            found = [self._sum(chunk, file.read(len(self.rows(chunk)) * self.row_bytes)) for chunk in range(len(sums))]
        damaged = [chunk for chunk, known in enumerate(sums) if known and known != found[chunk]]
        if damaged:
            text = f"{self.path}: {len(damaged)} of {len(sums)} chunks are damaged and are computed again."
            warnings.warn(text, stacklevel=2)
            write_json(self.journal, [None if chunk in damaged else known for chunk, known in enumerate(sums)])
        return [chunk for chunk, known in enumerate(sums) if not known or chunk in damaged]

    def write(self, chunk: int, rows: np.ndarray) -> None:
        """Put the rows of a chunk on the disk, and then into the journal."""
        data = rows.tobytes()
        with disk_errors(self.path):
            self.path.touch()
        with disk_errors(self.path), self.path.open("r+b") as file:
            file.seek(self.rows(chunk).start * self.row_bytes)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sums = self._sums()
        sums[chunk] = self._sum(chunk, data)
        write_json(self.journal, sums)

    def _sums(self) -> list[str | None]:
        chunks = -(-self.shape[0] // CHUNK)
        try:
            sums = read_json(self.journal)
        except FileNotFoundError:
            return [None] * chunks
        except ValueError:
            sums = None
        return sums if isinstance(sums, list) and len(sums) == chunks else ["damaged"] * chunks

    def _sum(self, chunk: int, data: bytes) -> str:
        """sha256 (hex) of a chunk and of its place."""
        return hashlib.sha256(f"{self.path.name} {chunk} ".encode() + data).hexdigest()
