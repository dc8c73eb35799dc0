"""The store: every image of a base split once, uint8 RGB in one memory-mapped file, with labels and a fingerprint."""

from __future__ import annotations

import hashlib
import io
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.components.datasets.decoding import at_most
from kdrecipes.data.parallel_reader import read_chunks
from kdrecipes.data.reader import USUAL, Decoding, Labels, MixedSizes, Reader, source_weights
from kdrecipes.data.row_sums import RowSums, compared
from kdrecipes.data.store_writer import Draft, drafted
from kdrecipes.disk.files import disk_errors, existing, locked, raise_what_lacks, sync_folder, write_json
from kdrecipes.disk.home import home, kept_at
from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.numpy_files import read_npy
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.hashing import digest
from kdrecipes.wording import listed, readable_bytes

STORE_VERSION = 4
_CHUNK = 1024  # images read, hashed and written at once: at most so many, and
_CHUNK_BYTES = 64_000_000  # at most so many bytes of them
_TRIED_AGAIN = 20  # of the images that a store lacks
_READ_AGAIN = 2**30  # bytes of pixels up to which all are compared as a store is opened: seconds

Progress = Callable[[int, int, int, int], None]


@dataclass(frozen=True)
class Store:
    """One base split, decoded.

    Attributes:
        images: uint8 (examples, side, side, 3), memory-mapped, read-only.
        labels: int64 (examples,), each in [0, len(classes)); -1 where there is none.
        index: int64 (examples,), each example's index in its source.
        classes: the class names.
        fingerprint: sha256 (hex) of images, labels, index and weights.
        converted: how many images were not RGB or one channel and were converted.
        skipped: name of each image that could not be read, and why.
        uniform: names of the images with transparent pixels that are of one colour on the background.
        weights: float32 (examples,), 0 or more: how much each counts where it is trained on; None: all alike.
        sums: what each image is compared with when it is first read.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    classes: list[str]
    fingerprint: str
    converted: int
    skipped: list[tuple[str, str]]
    uniform: list[str] = field(default_factory=list)
    weights: np.ndarray | None = None
    sums: RowSums | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Images as they were stored, uint8 (n, side, side, 3).

        Args:
            rows: int64 (n,), their places.

        Raises:
            EnvironmentProblem: when the disk has changed one.
        """
        images = self.images[rows]
        if self.sums is not None:
            self.sums.check(rows, images)
        return images


def open_store(
    source: Any,
    identity: Any,
    *,
    name: str,
    image_size: int | None,
    store_size: int | None,
    resize: str,
    labels: Labels = "all",
    decoding: Decoding = USUAL,
    progress: Progress | None = None,
) -> Store:
    """The store of a source: opened where it is already there, else built; a damaged one is rebuilt with a warning.

    Args:
        source: a dataset component's source; `arrays()`, where it has it, gives all images and labels at once, and
            `weights` how much each example counts.
        identity: JSON-able; whatever decides what the source holds besides its own `fingerprint`.
        name: for messages and the folder's name, e.g. "fashion_mnist train".
        image_size: the size the networks see; the stored size where images differ. None: native only.
        store_size: the recipe's `store_size`.
        resize: "squash" or "crop".
        labels: which are read, see `Reader`.
        decoding: how images become RGB.
        progress: called with (examples done, examples in all, bytes that the store will have, how many of those done
            could not be read); with 0 bytes and 0 while the images of a large store that is there, of which no
            checksums are kept, are read and compared.

    Raises:
        RunError: a label out of range, an image of an unknown form, not one image that can be read, weights that are
            none.
        EnvironmentProblem: no room on the disk, or the store can't be read or written, or others can write it.
    """
    if len(source) == 0:
        raise RunError(f"{name}: the split is empty.")
    facts = [STORE_VERSION, identity, getattr(source, "fingerprint", ""), len(source), resize]
    facts += ["no labels"] if labels == "none" else []
    facts += [vars(decoding)] if decoding != USUAL else []
    plain = name.replace(" ", "-").replace("/", "-")
    # None is the native size; a recipe's image_size counts only for a dataset that has none
    sizes = [store_size] if store_size else [None] if image_size is None else [None, image_size]
    folders = {size: kept_at("stores", f"{plain}-{digest(facts, size)[:20]}") for size in sizes}
    with locked(kept_at("stores", ".locks") / digest(facts)[:20]):
        for folder in folders.values():
            with at_most(decoding.max_pixels):
                if (store := _open(folder, progress)) is not None and not _lacks_what_is_there(store, source):
                    return store
        return _build(source, folders, name, resize, labels, decoding, progress)


def _lacks_what_is_there(store: Store, source: Any) -> bool:
    """Whether an image that could not be read can be now: a permission or a network's disk may be back."""
    missing = np.setdiff1d(np.arange(len(source)), store.index)
    return any(_is_readable(source, int(i)) for i in missing[:_TRIED_AGAIN])


def _is_readable(source: Any, i: int) -> bool:
    try:
        source[i]
    except Exception:  # a damaged image may raise anything
        return False
    return True


def _open(folder: Path, progress: Progress | None = None) -> Store | None:
    """Read a store; None where there is none, or a damaged one: a large one's pixels are compared as they are read."""
    try:
        if not folder.is_dir():
            return None
        meta = read_json(folder / "meta.json")
        labels, index = read_npy(folder / "labels.npy"), read_npy(folder / "index.npy")
        images = read_npy(folder / "images.npy", mapped=True)
        weights = read_npy(folder / "weights.npy") if "weights" in meta else None
        shape = (meta["examples"], meta["side"], meta["side"], 3)
        sums = (meta.pop("sha256"), meta["labels_sha256"], meta.get("weights"))
        expected = (digest(meta), _sha256(labels, index), None if weights is None else _sha256(weights))
        if sums == expected and images.shape == shape and images.dtype == np.uint8:
            others = [labels, index, *([] if weights is None else [weights])]
            told = (lambda done, total: progress(done, total, 0, 0)) if progress else None
            rows = compared(folder, meta, images, others, images.nbytes > _READ_AGAIN, told)
            found = (meta["converted"], [(name, reason) for name, reason in meta["skipped"]], meta["uniform"])
            return Store(images, labels, index, meta["classes"], meta["fingerprint"], *found, weights, rows)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise EnvironmentProblem(f"The store {folder} can't be read: {error.strerror or error}.") from error
    except Exception as error:  # whatever json and NumPy make of damaged files
        raise_what_lacks(error)
    warnings.warn(f"The store {folder} is damaged; it is built again.", stacklevel=3)
    return None


def _sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _build(
    source: Any,
    folders: dict[int | None, Path],
    name: str,
    resize: str,
    labels: Labels,
    decoding: Decoding,
    progress: Progress | None,
) -> Store:
    """Build the first of `folders`, by stored size, that the images allow."""
    arrays = source.arrays() if hasattr(source, "arrays") else None
    if arrays is not None and not len(arrays[0]) == len(arrays[1]) == len(source):
        counts = f"{len(arrays[0])} images and {len(arrays[1])} labels"
        raise RunError(f"{name}: its arrays hold {counts}, and it says that it has {len(source)} examples.")
    weights = source_weights(source, name)
    for size, folder in folders.items():
        try:
            reader = Reader(source, arrays, name, size, resize, labels, decoding)
            draft_folder = folder.with_name(f".{folder.name}.draft")
            with disk_errors(folder.parent):
                if folder.exists():
                    shutil.rmtree(folder)  # damaged, or of fewer images than there are; the lock is ours
                try:
                    _fill(reader, draft_folder, weights, progress)
                except (RunError, MixedSizes):  # it would be the same again
                    shutil.rmtree(draft_folder, ignore_errors=True)
                    raise
                draft_folder.rename(folder)
                sync_folder(folder.parent)
        except MixedSizes:
            continue
        if (store := _open(folder)) is None:
            raise EnvironmentProblem(f"The store {folder} can't be read back just after it was written.")
        return store
    raise RunError(f"{name}: the images do not share one square size. Set dataset.image_size.")


def _fill(reader: Reader, folder: Path, weights: np.ndarray | None, progress: Progress | None) -> None:
    """Decode all examples into `folder`; what an earlier try left there is continued."""
    n, side = len(reader.source), reader.side
    size = n * side * side * 3
    _check_room(reader.name, folder, size)
    chunk = max(1, min(_CHUNK, _CHUNK_BYTES // (side * side * 3)))
    with drafted(folder, n, side) as draft:
        bounds = [(start, min(start + chunk, n)) for start in range(draft.done, n, chunk)]
        if progress:
            progress(draft.done, n, size, len(draft.skipped))
        for (_, stop), found in zip(bounds, read_chunks(reader, bounds), strict=True):
            draft.add(found, stop)
            if progress:
                progress(stop, n, size, len(draft.skipped))
    if draft.rows == 0:
        files = listed([f"  {name}: {reason}" for name, reason in draft.skipped])
        raise RunError("\n".join([f"{reader.name}: not one of its {n:,} images can be read.", *files]))
    _finish(draft, reader, folder, weights)


def _check_room(name: str, folder: Path, size: int) -> None:
    """Refuse to begin, or to continue, what the disk has no room for; `size` is the whole store's, in bytes."""
    left = folder / "images.npy"
    needed = size - (left.stat().st_size if left.exists() else 0)
    free = shutil.disk_usage(existing(folder)).free
    if free < 1.1 * needed:
        raise EnvironmentProblem(
            f"{name}: its store needs {readable_bytes(needed)} under {home()} and {readable_bytes(free)} is "
            "free. Make room, or point KDRECIPES_HOME at another disk."
        )


def _finish(draft: Draft, reader: Reader, folder: Path, weights: np.ndarray | None) -> None:
    """Write what stands beside the pixels: labels, index, weights, the images' hashes, and the facts with checksums."""
    draft.finish()
    labels, index = np.array(draft.labels, np.int64), np.array(draft.index, np.int64)
    weighed, rows = {} if weights is None else {"weights": weights[index]}, np.concatenate(draft.hashes)
    for key, array in {"labels": labels, "index": index, "rows": rows, **weighed}.items():
        buffer = io.BytesIO()  # np.save to a file on a full disk raises an OSError that does not say so
        np.save(buffer, array)
        (folder / f"{key}.npy").write_bytes(buffer.getvalue())
    draft.content.update(b"".join(array.tobytes() for array in (labels, index, *weighed.values())))
    meta = {
        "name": reader.name,
        "examples": draft.rows,
        "side": reader.side,
        "classes": reader.classes,
        "fingerprint": draft.content.hexdigest(),
        "labels_sha256": _sha256(labels, index),
        "rows": _sha256(rows),
        "converted": draft.converted,
        "skipped": draft.skipped,
        "uniform": draft.uniform,
        **{key: _sha256(array) for key, array in weighed.items()},
    }
    write_json(folder / "meta.json", meta | {"sha256": digest(meta)})
    draft.journal.unlink()
    sync_folder(folder)
