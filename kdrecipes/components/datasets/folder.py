"""Images in folders named by class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdrecipes.components.datasets.decoding import decode
from kdrecipes.components.datasets.source import SPLIT_OPTION, file_facts, missing_split
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.hashing import digest

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass
class FolderSource:
    """The images of one split; each is read when it is asked for.

    Args:
        root: the dataset's folder.
        files: the image files, in the source's order.
        labels: class of each file.
        classes: name of each class.
        fingerprint: changes when a file's name, size or modification time does.
        labelled: False where the split's images lie in no class's folder; their label is 0 then, and says nothing.
    """

    root: Path
    files: list[Path]
    labels: list[int]
    classes: list[str]
    fingerprint: str
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Example `index`: `image` uint8 RGB (height, width, 3) and `label`, an int."""
        file = self.files[index]
        try:
            return {"image": decode(file), "label": self.labels[index]}
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            raise ValueError(f"{file}: {error}") from error  # no RunError: it is the store that decides what is fatal

    def name_of(self, index: int) -> str:
        """The file's name below the dataset's folder."""
        return self.files[index].relative_to(self.root).as_posix()


def _folders(folder: Path) -> list[Path]:
    """The folders in `folder`, by name; hidden ones are left out."""
    return sorted(Path(entry) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """The image files directly in `folder`; hidden ones are left out."""
    return [
        Path(entry)
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()
    ]


def build(split: str = "train", *, path: str) -> FolderSource:
    """The source of `path/<split>/<class>/*`, or of `path/<class>/*`, which has the split `train` only.

    Beside splits of the first kind `path/<split>/*` is one without labels: a teacher may teach on it.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise EnvironmentProblem(f"{path} is not a folder").at("dataset.path")
    # a folder that holds folders and no image of its own is a split: a class may be called "train" too
    splits = {folder.name: folder for folder in _folders(root) if _folders(folder) and not _images(folder)}
    splits = splits or {"train": root}
    unlabelled = {folder.name: folder for folder in _folders(root) if not _folders(folder) and _images(folder)}
    if split not in splits and root not in splits.values() and split in unlabelled:
        return _unlabelled(root, unlabelled[split], split, splits)
    if split not in splits:
        raise missing_split(split, splits)

    reference = [splits["train"]] if "train" in splits else list(splits.values())
    classes = sorted({folder.name for part in reference for folder in _folders(part)})
    of_class = {folder.name: _images(folder) for folder in _folders(splits[split])}
    if extra := sorted(set(of_class) - set(classes)):
        raise RunError(f"{splits[split]} holds classes that train does not have: {', '.join(extra)}")
    if split == "train" and (empty := [name for name in classes if not of_class[name]]):
        raise RunError(f"{splits[split]}: no image ({', '.join(SUFFIXES)}) in the folder {empty[0]}")
    label_of = {name: label for label, name in enumerate(classes)}
    pairs = [(file, label_of[name]) for name, files in of_class.items() for file in files]
    if not pairs:
        raise RunError(f"{splits[split]} holds no images; expected <class>/*{{{','.join(SUFFIXES)}}}")
    pairs.sort(key=lambda pair: _place(pair[0], root))
    files = [file for file, _ in pairs]
    facts = digest("folder", split, classes, file_facts(files, root))
    return FolderSource(root, files, [label for _, label in pairs], classes, facts)


def _unlabelled(root: Path, folder: Path, split: str, splits: Mapping[str, Path]) -> FolderSource:
    """The images of a folder without classes; the classes are those of the splits that have them."""
    classes = sorted({name.name for part in splits.values() for name in _folders(part)})
    files = sorted(_images(folder), key=lambda file: _place(file, root))
    facts = digest("folder", split, classes, file_facts(files, root))
    return FolderSource(root, files, [0] * len(files), classes, facts, labelled=False)


def _place(file: Path, root: Path) -> bytes:
    """What files are sorted by: a hash, so that a slice holds all classes, of the name, so that it does everywhere."""
    return hashlib.sha256(file.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).digest()


COMPONENT = Component(
    kind="dataset",
    name="folder",
    build=build,
    options=options(
        "dataset",
        build,
        split=SPLIT_OPTION,
        path={
            "minLength": 1,
            "format": "path",
            "examples": ["data/flowers"],
            "description": "Folder of <split>/<class>/images, or of <class>/images (then train is the only split); "
            "<split>/images beside the former have no labels",
        },
    ),
    summary="images in folders named by class (jpg, png, webp, bmp)",
)
