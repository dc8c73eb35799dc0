"""The teacher's logits for every view of every epoch: computed once, checksummed on disk, read by every arm."""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import keras
from kdrecipes.data.examples import ViewSettings, show
from kdrecipes.data.splits import Split
from kdrecipes.disk.chunked_array import CHUNK, ChunkedArray
from kdrecipes.disk.files import disk_errors, locked, write_json
from kdrecipes.disk.home import home, kept_at
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.hashing import digest
from kdrecipes.wording import readable_bytes

OUTPUTS_VERSION = 1  # in the key: a change of views, of how logits are computed or stored takes another number
_BATCH, _BATCH_PIXELS = 512, 512 * 128 * 128  # images a batch: at most so many, and at most so many pixels of them
_MANY = 64  # passes: so many over a small split share files, a chunk of rows to each, lest there be thousands of files
_LARGEST = 60_000.0  # what float16 is trusted with; it ends at 65,504

LogitsOf = Callable[[torch.Tensor], torch.Tensor]
Progress = Callable[[int, int], None]


@dataclass
class CachedOutputs:
    """The stored logits of one teacher; a call reads those of some examples in an epoch, from a memory map.

    Attributes:
        folder: where they are.
        dtype: float16, or float32 where a logit leaves ±60,000.
        shape: examples, classes.
        epochs: how many can be asked for.
        passes: how many of them differ and are stored; 1 without views.
        computed: rows of `rows` that were computed when this was opened.
        seconds: spent computing them.
    """

    folder: Path
    dtype: np.dtype
    shape: tuple[int, int]
    epochs: int
    passes: int
    computed: int
    seconds: float
    _map: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)

    @property
    def rows(self) -> int:
        """Stored rows, one for each view."""
        return self.passes * self.shape[0]

    @property
    def bytes(self) -> int:
        """Of the logits on disk."""
        return self.rows * self.shape[1] * self.dtype.itemsize

    def __call__(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Logits (len(positions), classes), of the stored dtype.

        Args:
            epoch: or another pass over the split, counted from 0.
            positions: int64, positions in the split.

        Raises:
            IndexError: for an epoch or position that is not stored.
            EnvironmentProblem: when the files were removed meanwhile.
        """
        if not 0 <= epoch < self.epochs:
            raise IndexError(f"epoch {epoch} of {self.epochs}")
        number = min(epoch, self.passes - 1)
        held = self._map
        place, inside = divmod(number, _passes_in_file(self.passes, self.shape[0]))
        if held is None or held[0] != place:  # one map at a time: each holds an open file
            held = self._map = (place, self._open(place))
        return np.asarray(held[1][inside * self.shape[0] + positions])

    def _open(self, number: int) -> np.ndarray:
        array = _arrays(self.folder, self.dtype, self.passes, self.shape)[number]
        try:
            return array.open()
        except (OSError, ValueError) as error:
            raise EnvironmentProblem(
                f"The teacher outputs {array.path} were removed or changed while a run used them. The same command "
                "computes them again and continues."
            ) from error


def count_views(examples: int, settings: ViewSettings, epochs: int) -> int:
    """Rows that `open_outputs` keeps: the examples, for every epoch that shows them differently."""
    return _passes(settings, epochs) * examples


def open_outputs(
    logits_of: LogitsOf,
    split: Split,
    size: int,
    settings: ViewSettings,
    epochs: int,
    classes: int,
    facts: list[Any],
    *,
    name: str,
    progress: Progress | None = None,
    note: Callable[[str], None] = print,
) -> CachedOutputs:
    """The teacher's logits on every view of every epoch; what is not on disk yet, or damaged there, is computed first.

    The key covers everything that a logit depends on, and not the number of epochs: a longer run adds to what a
    shorter one left. Rows are computed in the split's order and in batches that depend on nothing else, so an
    interrupted filling ends in the same bits.

    Args:
        logits_of: float32 images (batch, size, size, 3), 0–255, on the current device → logits (batch, classes).
        split: the examples.
        size: pixels per side that the teacher is shown.
        settings: the views.
        epochs: how many to have.
        classes: logits in a row.
        facts: JSON-able; what else the logits depend on: the teacher's weights, options, precision.
        name: for the folder's name.
        progress: called with (views there, views in all) while some are computed.
        note: takes one line for the user.

    Raises:
        RunError: when a logit is not finite, or there are not `classes` of them.
        EnvironmentProblem: no room on the disk, or it can't be written, or others can write what lies there.
    """
    views = _active(settings)
    seed = settings.seed if views else None
    key = digest(OUTPUTS_VERSION, facts, split_content(split), size, views, seed, classes)
    folder = kept_at("outputs", f"{name}-{key[:20]}")
    passes, shape = _passes(settings, epochs), (len(split), classes)
    meta = {"name": name, "version": OUTPUTS_VERSION, "facts": facts, "views": views, "seed": seed, "size": size}

    def ask(place: int, rows: np.ndarray) -> np.ndarray:
        numbers, positions = np.divmod(place * _passes_in_file(passes, len(split)) * len(split) + rows, len(split))
        parts = [show(split, positions[numbers == n], size, settings, int(n))[0] for n in np.unique(numbers)]
        image = parts[0] if len(parts) == 1 else torch.cat(parts)
        with torch.inference_mode():
            return keras.ops.convert_to_numpy(logits_of(keras.ops.convert_to_tensor(image)).float())

    def waiting() -> None:
        note(f"another run is computing these teacher outputs in {folder}; waiting for it")

    with locked(kept_at("outputs", ".locks") / folder.name, waiting=waiting), disk_errors(folder):
        dtype, started = _prepared(folder, meta), time.monotonic()
        try:
            computed = _fill(_arrays(folder, dtype, passes, shape), ask, size, progress)
        except _TooLarge:  # the whole entry is of one dtype
            dtype = _begin(folder, meta, "float32")
            computed = _fill(_arrays(folder, dtype, passes, shape), ask, size, progress)
        seconds = time.monotonic() - started if computed else 0.0
    # the last file may hold more passes than were asked for: what is told of is these
    return CachedOutputs(folder, dtype, shape, epochs, passes, min(computed, passes * shape[0]), seconds)


def split_content(split: Split) -> list[str]:
    """What a split shows: sha256 (hex) of its store's content and of its positions there."""
    positions = np.ascontiguousarray(split.positions).tobytes()
    return [split.store.fingerprint, hashlib.sha256(positions).hexdigest()]


def _active(settings: ViewSettings) -> dict[str, Any]:
    """The views that do something."""
    return {key: value for key, value in (settings.views.data if settings.views else {}).items() if value}


def _passes(settings: ViewSettings, epochs: int) -> int:
    """Epochs that differ: without views every epoch shows the same pixels."""
    return epochs if _active(settings) else 1


def _prepared(folder: Path, meta: dict[str, Any]) -> np.dtype:
    """The dtype of an entry, which is begun where there is none."""
    try:
        stored = read_json(folder / "meta.json")["dtype"]
        if stored in ("float16", "float32"):
            for leftover in folder.glob(".*"):  # of a killed process: the lock is ours
                leftover.unlink()
            return np.dtype(stored)
    except FileNotFoundError:
        return _begin(folder, meta, "float16")
    except (ValueError, KeyError, TypeError):
        pass
    warnings.warn(f"The teacher outputs {folder} are damaged; they are computed again.", stacklevel=3)
    return _begin(folder, meta, "float16")


def _begin(folder: Path, meta: dict[str, Any], dtype: str) -> np.dtype:
    """Begin an entry afresh in a dtype."""
    if folder.exists():
        shutil.rmtree(folder)
    write_json(folder / "meta.json", meta | {"dtype": dtype})
    return np.dtype(dtype)


def _passes_in_file(passes: int, examples: int) -> int:
    """How many passes over a split share a file; the last file may hold more than were asked for."""
    return 1 if passes < _MANY else max(1, CHUNK // examples)


def _arrays(folder: Path, dtype: np.dtype, passes: int, shape: tuple[int, int]) -> list[ChunkedArray]:
    """One for each epoch, or for several passes where these are many and small."""
    each = _passes_in_file(passes, shape[0])
    name, rows = "epoch" if each == 1 else f"{each}-passes", (each * shape[0], shape[1])
    return [ChunkedArray(folder / f"{name}-{i:04}.{dtype.name}", dtype, rows) for i in range(-(-passes // each))]


class _TooLarge(Exception):
    """A logit that float16 is not trusted with."""


def _fill(
    arrays: list[ChunkedArray], ask: Callable[[int, np.ndarray], np.ndarray], size: int, progress: Progress | None
) -> int:
    """Compute what is missing of each epoch's array; returns how many rows.

    Args:
        arrays: one for each epoch.
        ask: epoch, positions → logits, float32 (batch, classes).
        size: pixels per side of an image.
        progress: called with (rows there, rows in all).
    """
    missing = [(epoch, chunk) for epoch, array in enumerate(arrays) for chunk in array.missing()]
    todo = sum(len(arrays[epoch].rows(chunk)) for epoch, chunk in missing)
    if not todo:
        return 0
    total = sum(array.shape[0] for array in arrays)
    _check_room(arrays[0].path.parent, todo * arrays[0].row_bytes)
    done, report = total - todo, progress or (lambda done, total: None)
    report(done, total)
    batch = max(1, min(_BATCH, _BATCH_PIXELS // size**2))
    for epoch, chunk in missing:
        array, parts = arrays[epoch], []
        rows = array.rows(chunk)
        for start in range(rows.start, rows.stop, batch):
            positions = np.arange(start, min(start + batch, rows.stop))
            parts.append(_checked(ask(epoch, positions), (len(positions), array.shape[1]), epoch))
            done += len(positions)
            report(done, total)
        logits = np.concatenate(parts)
        if array.dtype == np.float16 and np.abs(logits).max() > _LARGEST:
            raise _TooLarge
        array.write(chunk, logits.astype(array.dtype))
    return todo


def _checked(logits: np.ndarray, shape: tuple[int, int], epoch: int) -> np.ndarray:
    """Refuse logits that nobody can learn from."""
    if logits.shape != shape:
        raise RunError(f"The teacher's outputs must have the shape {shape}. Received: {logits.shape}")
    if bad := int((~np.isfinite(logits)).any(1).sum()):
        raise RunError(
            f"The teacher's logits are not finite for {bad} of {len(logits)} training images as epoch {epoch + 1} "
            "shows them. No student can learn from these; try other views or another teacher."
        )
    return logits


def _check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if free < 1.1 * needed:
        raise EnvironmentProblem(
            f"The teacher's outputs need {readable_bytes(needed)} under {home()} and {readable_bytes(free)} is free. "
            'Make room, point KDRECIPES_HOME at another disk, or ask the teacher live with teacher.cache = "off".'
        )
