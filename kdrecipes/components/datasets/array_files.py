"""The arrays of an .npz file or a folder of .npy files: which there are, of which splits, and their forms unread."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.disk.npz_sizes import header_of, refuse_bombs
from kdrecipes.disk.numpy_files import read_npy, read_npz
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.wording import escaped

if TYPE_CHECKING:
    import numpy as np

# What such arrays are often called: alone, before a split's name, or behind one.
IMAGES, LABELS = ("images", "image", "x"), ("labels", "label", "y")
WEIGHTS = ("weights", "weight", "sample_weights", "sample_weight")


@dataclass(frozen=True)
class StoredArray:
    """An array in a file.

    Attributes:
        name: how messages call it.
        file: the .npy or .npz file.
        key: its name in an .npz file.
        shape, dtype: as the file's header says.
    """

    name: str
    file: Path
    key: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self) -> np.ndarray:
        """The array: mapped from an .npy file, read from an .npz file; no object is ever unpickled.

        Raises:
            RunError: when the file is damaged.
        """
        with _told(self.name):
            if self.key is None:
                return read_npy(self.file, mapped=True)
            return read_npz(self.file, [self.key])[self.key]


def stored_arrays(path: Path) -> dict[str, StoredArray]:
    """The arrays of an .npz file by their names, or of a folder by the names of its .npy files.

    Raises:
        EnvironmentProblem: when there is no such file or folder.
        RunError: for another kind of file, a damaged one, and none.
    """
    if path.is_dir():
        found = {file.stem: _of_npy(file) for file in sorted(path.glob("*.npy")) if not file.name.startswith(".")}
    elif path.suffix.lower() == ".npz" and path.is_file():
        found = _of_npz(path)
    elif path.suffix.lower() == ".npy" and path.is_file():
        raise RunError(
            f"{escaped(str(path))}: images and labels are two .npy files. Let dataset.path be their folder, and say "
            f'what the files are called: images = "{path.stem}", labels = "…"'
        )
    elif path.exists():
        raise RunError(f"{escaped(str(path))}: arrays are one .npz file, or a folder of .npy files")
    else:
        raise EnvironmentProblem(f"{escaped(str(path))}: there is no such file or folder")
    if not found:
        raise RunError(f"{escaped(str(path))}: it holds no array")
    return found


def pairs_of(names: Mapping[str, Any], images: str | None, labels: str | None) -> dict[str, tuple[str, str | None]]:
    """The names of each split's images and labels; None where a split has no labels.

    Args:
        names: of all arrays.
        images, labels: what they are called, `{split}` standing for the split's name; None: as usual.

    Raises:
        RunError: when none is called so, or two are of one split.
    """
    if (images is None) != (labels is None):
        raise RunError("give both, images and labels, or none of them")
    of_images, of_labels = _by_split(names, images, IMAGES, "images"), _by_split(names, labels, LABELS, "labels")
    if not of_images or not of_labels:
        missing = "images" if not of_images else "labels"
        usual = " or ".join(IMAGES if missing == "images" else LABELS)
        called = {"images": images, "labels": labels}[
            missing
        ] or f"{usual}, alone or with a split as train_… or …_train"
        raise RunError(
            f"no array of {missing} is called {called}; there are {', '.join(map(repr, sorted(names)[:12]))}. Say what "
            'they are called: images = "…", labels = "…"'
        )
    return {split: (name, of_labels.get(split)) for split, name in of_images.items()}


def weights_of(names: Mapping[str, Any], weights: str | None) -> dict[str, str]:
    """The name of each split's weights, where it has any.

    Args:
        names: of all arrays.
        weights: what they are called, as for `pairs_of`; "": there are none.

    Raises:
        RunError: when none is called as it says, or two are of one split.
    """
    found = {} if weights == "" else _by_split(names, weights, WEIGHTS, "weights")
    if weights and not found:
        there = ", ".join(map(repr, sorted(names)[:12]))
        raise RunError(f"no array of weights is called {weights}; there are {there}").at("dataset.weights")
    return found


def _by_split(names: Mapping[str, Any], given: str | None, usual: tuple[str, ...], what: str) -> dict[str, str]:
    if given is None:
        words = "|".join(usual)
        # lazily, so that sample_weight alone is no weight of a split `sample`
        pattern = re.compile(f"(?:(?P<before>.+?)_)??(?:{words})|(?:{words})_(?P<behind>.+)", re.IGNORECASE)
    else:
        pattern = re.compile(re.escape(given).replace(re.escape("{split}"), "(?P<before>.+)", 1))
    found: dict[str, str] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            split = next((part for part in match.groupdict().values() if part), "train")
            if split in found:
                raise RunError(
                    f"{found[split]!r} and {name!r} could both be the {what} of {split}. Say which: "
                    + ('weights = "…"' if what == "weights" else 'images = "…", labels = "…"')
                )
            found[split] = name
    return found


def _of_npy(file: Path) -> StoredArray:
    with _told(file.name), file.open("rb") as stream:
        return StoredArray(escaped(file.name), file, None, *header_of(stream))


def _of_npz(file: Path) -> dict[str, StoredArray]:
    found = {}
    with _told(file.name):
        refuse_bombs(file)
    with _told(file.name), zipfile.ZipFile(file) as opened:
        for member in opened.namelist():
            if member.endswith(".npy"):
                key = member.removesuffix(".npy")
                with opened.open(member) as stream:
                    found[key] = StoredArray(escaped(f"{file.name}[{key}]"), file, key, *header_of(stream))
    return found


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what NumPy and zipfile raise on damaged files into one error."""
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise RunError(f"{escaped(name)} can't be read: {' '.join(str(error).split())}") from error
