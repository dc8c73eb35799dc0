"""The store: every image of a base split once, as uint8 RGB in one memory-mapped file, with labels and a fingerprint."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError
from kdrecipes.home import digest, disk_errors, home, locked, readable_bytes, sync_folder, write_json

STORE_VERSION = 1
_PROBE = 64  # images looked at before a dataset's images are believed to share one size
_CHUNK = 1024

Progress = Callable[[int, int], None]


class _MixedSizes(Exception):
    """An image differs from the size that the first ones share."""


@dataclass(frozen=True)
class Store:
    """One base split, decoded.

    Attributes:
        images: uint8 (examples, side, side, 3), memory-mapped, read-only.
        labels: int64 (examples,), each in [0, len(classes)).
        index: int64 (examples,), each example's index in its source.
        classes: the class names.
        fingerprint: sha256 (hex) of images, labels and index.
        converted: how many images were not RGB or one channel and were converted.
        skipped: names of the images that could not be read.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    classes: list[str]
    fingerprint: str
    converted: int
    skipped: list[str]

    def __len__(self) -> int:
        return len(self.labels)


def open_store(
    source: Any,
    identity: Any,
    *,
    name: str,
    image_size: int | None,
    store_size: int | None,
    resize: str,
    corrupt_limit: float,
    progress: Progress | None = None,
) -> Store:
    """The store of a source: opened where it is already there, else built; a damaged one is rebuilt.

    Args:
        source: a dataset component's source.
        identity: JSON-able; whatever decides what the source holds besides its own `fingerprint`.
        name: for messages and the folder's name, e.g. "fashion_mnist train".
        image_size: the size the networks see; the stored size where images differ. None: native only.
        store_size: the recipe's `store_size`.
        resize: "squash" or "crop".
        corrupt_limit: greatest share of unreadable images.
        progress: called with (done, total).

    Raises:
        RunError: unreadable images beyond the limit, a label out of range, an image of an unknown form.
        EnvironmentProblem: no room on the disk, or the store can't be written.
    """
    if len(source) == 0:
        raise RunError(f"{name}: the split is empty.")
    facts = [STORE_VERSION, identity, getattr(source, "fingerprint", ""), len(source), store_size, resize]
    key = digest(*facts, image_size if store_size is None else None, corrupt_limit)[:20]
    folder = home() / "stores" / f"{name.replace(' ', '-').replace('/', '-')}-{key}"
    with locked(home() / "stores" / ".locks" / key):
        opened = _open(folder) if folder.is_dir() else None
        if opened is None:
            with disk_errors(folder):
                shutil.rmtree(folder, ignore_errors=True)
                sizes = [store_size] if store_size else [None, image_size]
                _build(source, folder, name, sizes, resize, corrupt_limit, progress)
            opened = _open(folder)
        if opened is None:
            raise EnvironmentProblem(f"The store {folder} can't be read back just after it was written.")
    return opened


def _open(folder: Path) -> Store | None:
    """Read a store; None where it is damaged in a way that shows without reading every pixel."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        index = np.load(folder / "index.npy", allow_pickle=False)
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        small = hashlib.sha256(labels.tobytes() + index.tobytes()).hexdigest()
        shape = (meta["examples"], meta["side"], meta["side"], 3)
        if images.shape != shape or images.dtype != np.uint8 or small != meta["labels_sha256"]:
            return None
    except PermissionError as error:
        raise EnvironmentProblem(f"The store {folder} can't be read: {error.strerror}.") from error
    except (OSError, ValueError, KeyError):
        return None
    return Store(images, labels, index, meta["classes"], meta["fingerprint"], meta["converted"], meta["skipped"])


def _build(
    source: Any,
    folder: Path,
    name: str,
    sizes: list[int | None],
    resize: str,
    corrupt_limit: float,
    progress: Progress | None,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for size in sizes:  # None stands for the native size, given up as soon as an image differs
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _fill(source, temporary, name, size, resize, corrupt_limit, progress)
            temporary.chmod(0o755)
            temporary.rename(folder)
            sync_folder(folder.parent)
            return
        except _MixedSizes:
            continue
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    raise RunError(f"{name}: the images do not share one square size. Set dataset.image_size.")


def _fill(
    source: Any, folder: Path, name: str, size: int | None, resize: str, corrupt_limit: float, progress: Progress | None
) -> None:
    n, classes = len(source), [str(c) for c in source.classes]
    reader = _Reader(source, name, size, resize, corrupt_limit)
    side = reader.native_side() if size is None else size
    needed = n * side * side * 3
    if shutil.disk_usage(folder).free < 1.1 * needed:
        free = readable_bytes(shutil.disk_usage(folder).free)
        raise EnvironmentProblem(
            f"{name}: its store needs {readable_bytes(needed)} under {home()} and {free} is free. Make room, or point "
            "KDRECIPES_HOME at another disk."
        )
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (n, side, side, 3))
    labels, index = np.empty(n, np.int64), np.empty(n, np.int64)
    content = hashlib.sha256()
    kept = 0
    for start in range(0, n, _CHUNK):
        first = kept
        for i, image, label in reader.read(start, min(start + _CHUNK, n)):
            if not 0 <= label < len(classes):
                raise RunError(
                    f"{name}: {reader.name_of(i)} has label {label}; with {len(classes)} classes labels go from 0 to "
                    f"{len(classes) - 1}."
                )
            images[kept], labels[kept], index[kept] = image, label, i
            kept += 1
        content.update(images[first:kept].tobytes())
        if progress:
            progress(min(start + _CHUNK, n), n)
    if kept == 0:
        raise RunError(f"{name}: not one image could be read.")
    images.flush()
    del images
    if kept < n:
        _shorten(folder / "images.npy", (kept, side, side, 3))
    labels, index = labels[:kept], index[:kept]
    np.save(folder / "labels.npy", labels)
    np.save(folder / "index.npy", index)
    content.update(labels.tobytes() + index.tobytes())
    meta = {
        "name": name, "examples": kept, "side": side, "classes": classes, "fingerprint": content.hexdigest(),
        "labels_sha256": hashlib.sha256(labels.tobytes() + index.tobytes()).hexdigest(),
        "converted": reader.converted, "skipped": reader.skipped,
    }  # fmt: skip
    write_json(folder / "meta.json", meta)


def _shorten(path: Path, shape: tuple[int, ...]) -> None:
    """Drop the rows that unreadable images left unused."""
    whole = np.load(path, mmap_mode="r", allow_pickle=False)
    shorter = np.lib.format.open_memmap(path.with_suffix(".short"), "w+", np.uint8, shape)
    for start in range(0, shape[0], _CHUNK):
        shorter[start : start + _CHUNK] = whole[start : min(start + _CHUNK, shape[0])]
    shorter.flush()
    path.with_suffix(".short").replace(path)


class _Reader:
    """Reads a source example by example into square RGB of one size, counting what was converted or skipped."""

    def __init__(self, source: Any, name: str, size: int | None, resize: str, corrupt_limit: float):
        self.source, self.name, self.size, self.resize = source, name, size, resize
        self.limit = int(corrupt_limit * len(source))
        self.side: int | None = size
        self.converted = 0
        self.skipped: list[str] = []
        self.arrays = source.arrays() if hasattr(source, "arrays") else None

    def name_of(self, i: int) -> str:
        return self.source.name_of(i) if hasattr(self.source, "name_of") else f"example {i}"

    def native_side(self) -> int:
        """The size that the first images share; their square side."""
        if self.arrays is not None:
            shapes = {self.arrays[0].shape[1:3]}
        else:
            shapes = set()
            for i in range(min(_PROBE, len(self.source))):
                try:
                    shapes.add(np.shape(self.source[i]["image"])[:2])
                except Exception:  # whatever it is, `read` meets it again and counts it
                    continue
        if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
            raise _MixedSizes
        self.side = int(next(iter(shapes))[0])
        return self.side

    def read(self, start: int, stop: int):
        """Yield (index in the source, uint8 (side, side, 3), label) for each readable example."""
        for i in range(start, stop):
            try:
                if self.arrays is not None:
                    image, label = self.arrays[0][i], self.arrays[1][i]
                else:
                    example = self.source[i]
                    image, label = example["image"], example["label"]
            except KDRecipesError:
                raise
            except Exception as error:
                self.skip(i, error)
                continue
            yield i, self.square(self.rgb(np.asarray(image), i)), int(label)

    def skip(self, i: int, error: Exception) -> None:
        self.skipped.append(self.name_of(i))
        if len(self.skipped) > self.limit:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RunError(
                f"{self.name}: {self.name_of(i)} can't be read ({reason}); that is unreadable image "
                f"{len(self.skipped)} of {len(self.source)}, and dataset.corrupt_limit allows {self.limit}."
            ) from error

    def rgb(self, image: np.ndarray, i: int) -> np.ndarray:
        """uint8 (height, width, 3): one channel is repeated, an alpha channel dropped and counted."""
        if (
            image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4))
        ):
            raise RunError(
                f"{self.name}: {self.name_of(i)} is {image.dtype} of shape {image.shape}; an image is uint8 "
                "(height, width, channels) with 1 to 4 channels."
            )
        if image.ndim == 2:
            image = image[..., None]
        if image.shape[2] in (2, 4):
            self.converted += 1
            image = image[..., :-1]
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def square(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if self.size is None and (height, width) != (self.side, self.side):
            raise _MixedSizes
        if (height, width) == (self.side, self.side):
            return image
        from PIL import Image

        picture = Image.fromarray(image)
        if self.resize == "crop":
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            picture = picture.crop((left, top, left + side, top + side))
        side = int(self.side or 0)
        return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
