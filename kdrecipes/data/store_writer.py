"""A store while it is being written: chunks are journaled, so that an interrupted decoding continues."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np

from kdrecipes.data.reader import Chunk
from kdrecipes.data.row_sums import hashes_of
from kdrecipes.disk.files import new_file, remove_unfinished

JOURNAL = "journal.jsonl"
_BLOCK = 16 * 2**20


@contextmanager
def drafted(folder: Path, examples: int, side: int) -> Iterator[Draft]:
    """The draft in a folder, begun or continued; where nothing was added to it the folder is removed on an error."""
    draft = None
    try:
        draft = Draft(folder, examples, side)
        yield draft
    except BaseException:
        if not (draft.done if draft else (folder / JOURNAL).exists()):
            shutil.rmtree(folder, ignore_errors=True)
        raise


class Draft:
    """The pixels in a file, and a line for each chunk in a journal beside it.

    A chunk's pixels are synced before its line is written. What the journal names and the pixels bear out is there
    after a kill or a power cut; all that follows is written again.

    Args:
        folder: where; created where it is missing.
        examples: of the source.
        side: pixels per side.

    Attributes:
        done: examples of the source that were read, whether they could be decoded or not.
        rows: those that could.
        labels, index: of the rows, as in a store.
        converted: how many were converted.
        skipped: name and reason of each that could not be read.
        uniform: names of those with transparent pixels that came out as one colour.
        content: sha256 of the rows' pixels.
        hashes: of the rows, by `hashes_of`: uint64 arrays, of the first ones first.
    """

    def __init__(self, folder: Path, examples: int, side: int):
        self.folder, self.examples, self.side = folder, examples, side
        self.done = self.rows = self.converted = 0
        self.labels: list[int] = []
        self.index: list[int] = []
        self.skipped: list[tuple[str, str]] = []
        self.uniform: list[str] = []
        self.content = hashlib.sha256()
        self.hashes: list[np.ndarray] = []
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)  # it would become part of the store
        self._begin()

    @property
    def images(self) -> Path:
        """The file with the pixels."""
        return self.folder / "images.npy"

    @property
    def journal(self) -> Path:
        """A JSON object a line, one for each chunk."""
        return self.folder / JOURNAL

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return self.side * self.side * 3

    def add(self, chunk: Chunk, stop: int) -> None:
        """Append the examples up to `stop`."""
        # Written, not mapped: on a full disk a write is an error that can be told, a mapped page kills the process.
        with self.images.open("r+b") as file:
            file.seek(self._header + self.rows * self.row_bytes)
            file.write(chunk.images.data)
            _sync(file)
        line = {
            "stop": stop,
            "sha256": hashlib.sha256(chunk.images.data).hexdigest(),
            "labels": chunk.labels.tolist(),
            "index": chunk.index.tolist(),
            "converted": chunk.converted,
            "skipped": chunk.skipped,
            "uniform": chunk.uniform,
        }
        with self.journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")
            _sync(journal)
        self._count(line)
        self.content.update(chunk.images.data)
        self.hashes.append(hashes_of(chunk.images))

    def finish(self) -> None:
        """Give the file with the pixels its true number of rows."""
        with self.images.open("r+b") as file:
            file.truncate(self._header + self.rows * self.row_bytes)
            self._write_header(file, self.rows)
            _sync(file)

    def _begin(self) -> None:
        """Take over what is there and bears out its checksum."""
        new = not self.images.exists()
        with self.images.open("w+b" if new else "r+b") as file:
            self._header = self._write_header(file, self.examples)
            kept = [] if new else list(takewhile(lambda line: self._take(file, line), self._lines()))
            file.truncate(self._header + self.rows * self.row_bytes)
            _sync(file)
        with new_file(self.journal, "w") as journal:  # whole or not at all: it is what a continued draft lives by
            journal.writelines(json.dumps(line) + "\n" for line in kept)

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            for text in self.journal.read_text(encoding="utf-8").splitlines():
                yield json.loads(text)
        except (FileNotFoundError, ValueError):  # no journal, or a line that was being written
            return

    def _take(self, file: IO[bytes], line: dict[str, Any]) -> bool:
        """Whether the next chunk is this line's; it is counted then."""
        file.seek(self._header + self.rows * self.row_bytes)
        left, step, hashes = len(line["labels"]), max(1, _BLOCK // self.row_bytes), []
        chunk, content = hashlib.sha256(), self.content.copy()
        while left:
            rows = min(left, step)
            block = file.read(rows * self.row_bytes)
            if len(block) < rows * self.row_bytes:
                return False
            chunk.update(block)
            content.update(block)
            hashes.append(hashes_of(np.frombuffer(block, np.uint8).reshape(rows, -1)))
            left -= rows
        if chunk.hexdigest() != line["sha256"]:
            return False
        self.content = content
        self.hashes += hashes
        self._count(line)
        return True

    def _count(self, line: dict[str, Any]) -> None:
        self.done, self.rows = line["stop"], self.rows + len(line["labels"])
        self.labels += line["labels"]
        self.index += line["index"]
        self.converted += line["converted"]
        self.skipped += [(name, reason) for name, reason in line["skipped"]]
        self.uniform += line["uniform"]

    def _write_header(self, file: IO[bytes], rows: int) -> int:
        """The .npy header, which NumPy pads: it is as long for fewer rows. Returns its length."""
        file.seek(0)
        facts = {"descr": "|u1", "fortran_order": False, "shape": (rows, self.side, self.side, 3)}
        np.lib.format.write_array_header_1_0(file, facts)
        return file.tell()


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
