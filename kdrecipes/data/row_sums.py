"""A store's pixels compared with their checksums: as it is opened, or of a large one as each image is first read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.disk.files import new_file, write_json
from kdrecipes.disk.numpy_files import read_npy
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.hashing import digest

FILE = "rows.npy"  # in the store's folder: the hashes of its rows
_BLOCK = 64_000_000  # bytes of pixels that are read at once


class RowSums:
    """Of a large store: what each image is when it is whole, and which of them this process has read.

    An image is compared when it is first read: some nanoseconds for a byte, once in a process.

    Args:
        file: the pixels'.
        hashes: uint64 (images,), of `hashes_of`.
        seen: whether all were compared just now.
    """

    def __init__(self, file: Path, hashes: np.ndarray, seen: bool = False):
        self.file, self.hashes = file, hashes
        self._seen = np.full(len(hashes), seen)

    def check(self, rows: np.ndarray, images: np.ndarray) -> None:
        """Compare images that were read with what was stored.

        Args:
            rows: int64 (n,), their places.
            images: uint8 (n, side, side, 3).

        Raises:
            EnvironmentProblem: for the first that is another; the store is built again when it is next opened.
        """
        for place in np.flatnonzero(~self._seen[rows]):
            row = int(rows[place])
            if hashes_of(images[place : place + 1])[0] != self.hashes[row]:
                with suppress(OSError):  # whoever opens it next reads it whole
                    (self.file.parent / FILE).unlink()
                raise EnvironmentProblem(
                    f"{self.file} is damaged: image {row:,} is not as it was stored. The same command builds the store "
                    "again and goes on."
                )
            self._seen[row] = True


def hashes_of(images: np.ndarray) -> np.ndarray:
    """A hash of each image's pixels, uint64 (images,).

    Two of n different images share one by a chance of n² · 3e-20.
    """
    found = [hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=8).digest() for row in images]
    return np.frombuffer(b"".join(found), np.uint64)


def compared(
    folder: Path,
    meta: dict[str, Any],
    images: np.ndarray,
    others: Sequence[np.ndarray],
    large: bool,
    progress: Callable[[int, int], None] | None = None,
) -> RowSums | None:
    """Compare a store with its fingerprint; a large one only where its images' checksums lack, which this leaves then.

    They stand beside the pixels since the store was built, but for stores of earlier versions.

    Args:
        folder: the store's.
        meta: its meta.json, which is whole.
        images: its pixels, mapped.
        others: the arrays that its fingerprint is of too.
        large: whether reading it each time would take too long.
        progress: called with (images compared, images in all) while a large one is read; first before it is.

    Returns:
        Of a large store, what its images are compared with as they are read.

    Raises:
        ValueError: when it is damaged.
    """
    if large and (kept := _kept(folder, meta)) is not None:
        return kept
    content, hashes = _read_whole(images, progress) if large else (hashlib.sha256(images.data), None)
    content.update(b"".join(array.tobytes() for array in others))
    if content.hexdigest() != meta["fingerprint"]:
        raise ValueError("its pixels are others")
    if hashes is None:
        return None
    told = {**meta, "rows": hashlib.sha256(hashes.tobytes()).hexdigest()}
    with suppress(OSError, EnvironmentProblem):  # they only save time
        with new_file(folder / FILE) as file:
            np.save(file, hashes)
        write_json(folder / "meta.json", told | {"sha256": digest(told)})
    return RowSums(folder / "images.npy", hashes, seen=True)


def _kept(folder: Path, meta: dict[str, Any]) -> RowSums | None:
    """The checksums of a store's images that stand beside them; None where they are not whole."""
    try:
        hashes = read_npy(folder / FILE)
    except (OSError, ValueError):
        return None
    whole = hashes.shape == (meta["examples"],) and hashes.dtype == np.uint64
    whole = whole and hashlib.sha256(hashes.tobytes()).hexdigest() == meta.get("rows")
    return RowSums(folder / "images.npy", hashes) if whole else None


def _read_whole(images: np.ndarray, progress: Callable[[int, int], None] | None) -> tuple[Any, np.ndarray]:
    """sha256 of all pixels, and the hash of each image; each pixel is read once."""
    content, parts = hashlib.sha256(), []
    step = max(1, _BLOCK // images[0].nbytes)
    for start in range(0, len(images), step):
        if progress:
            progress(start, len(images))
        block = np.ascontiguousarray(images[start : start + step])
        content.update(block.data)
        parts.append(hashes_of(block))
    if progress:
        progress(len(images), len(images))
    return content, np.concatenate(parts)
