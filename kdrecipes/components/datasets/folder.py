"""Images in folders named by class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdrecipes.components.datasets.decoding import decode, look, why_unreadable
from kdrecipes.components.datasets.folder_files import LeftOut, add_beside, images_below, subfolders
from kdrecipes.components.datasets.folder_layout import (
    Layout,
    advice,
    class_advice,
    class_key,
    classes_of,
    layout_of,
    split_advice,
)
from kdrecipes.components.datasets.source import SPLIT_OPTION, file_facts, missing_split
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.hashing import digest
from kdrecipes.wording import escaped, left_out_words


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
        left_out: what lies in the split's folder and is not read: by reason, names below the dataset's folder.
    """

    root: Path
    files: list[Path]
    labels: list[int]
    classes: list[str]
    fingerprint: str
    labelled: bool = True
    left_out: LeftOut = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Example `index`: `image` uint8 RGB or RGBA (height, width, 3 or 4) and `label`, an int."""
        file = self.files[index]
        try:
            return {"image": decode(file), "label": self.labels[index]}
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            # no RunError: it is the store that decides what is fatal
            raise ValueError(f"{self.name_of(index)}: {why_unreadable(file, error)}") from error

    def look(self, index: int) -> tuple[int, int, str]:
        """Width, height and mode of example `index`, such as (640, 480, "RGB"), without its pixels."""
        return look(self.files[index])

    def name_of(self, index: int) -> str:
        """The file's name below the dataset's folder; bytes of it that are not UTF-8 are escaped."""
        return escaped(self.files[index].relative_to(self.root).as_posix())

    def listing(self) -> dict[str, list[tuple[str, int]]]:
        """Name and bytes of each image, by its class; all under the class "" where they have none."""
        found: dict[str, list[tuple[str, int]]] = {}
        for index, file in enumerate(self.files):
            name = self.classes[self.labels[index]] if self.labelled else ""
            found.setdefault(name, []).append((self.name_of(index), file.stat().st_size))
        return found

    def label_of(self, index: int) -> int:
        """The label of example `index`, also of one that can't be read."""
        return self.labels[index]


def build(split: str = "train", *, path: str) -> FolderSource:
    """The source of `path/<split>/<class>/**/*`, or of `path/<class>/**/*`, which has the split `train` only.

    Beside splits of the first kind `path/<split>/*` is one without labels: a teacher may teach on it.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise _no_folder(path)
    layout = layout_of(root, split)
    if split not in layout.splits and split in layout.unlabelled:
        return _unlabelled(root, layout, split)
    if split not in layout.splits:
        error = missing_split(split, sorted(map(escaped, layout.splits)))
        error.hint = split_advice(root, split, layout)
        raise error

    folder = layout.splits[split]
    classes = _classes(layout)
    left_out: LeftOut = {}
    of_class = {class_key(name.name): (name, images_below(name, root, left_out)) for name in subfolders(folder)}
    classes_of([folder])  # two folders of one class are refused, in any split
    add_beside(folder, root, left_out)
    _refuse_classes(root, folder, classes, of_class, left_out)
    label_of = {key: label for label, key in enumerate(classes)}
    pairs = [(file, label_of[key]) for key, (_, files) in of_class.items() for file in files]
    pairs.sort(key=lambda pair: _place(pair[0], root))
    files, names = [file for file, _ in pairs], list(classes.values())
    facts = digest("folder", split, names, file_facts(files, root))
    return FolderSource(root, files, [label for _, label in pairs], names, facts, left_out=left_out)


def has_labels(split: str, path: str) -> bool | None:
    """Whether a split's images lie in folders of classes, by the folders' names; None where there is no such split."""
    root = Path(path).expanduser()
    if not root.is_dir():
        return None
    layout = layout_of(root, split)
    return True if split in layout.splits else False if split in layout.unlabelled else None


build.labelled = has_labels  # type: ignore[attr-defined]


def _no_folder(path: str) -> EnvironmentProblem:
    text = f"{escaped(path)} is not a folder"
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        text += ", as far as this locale's encoding can tell: set PYTHONUTF8=1"
    return EnvironmentProblem(text).at("dataset.path")


def _classes(layout: Layout) -> dict[str, str]:
    """The dataset's classes: those of train, where there is one."""
    splits = layout.splits
    return classes_of([splits["train"]] if "train" in splits else splits.values())


def _refuse_classes(
    root: Path,
    folder: Path,
    classes: Mapping[str, str],
    of_class: Mapping[str, tuple[Path, list[Path]]],
    left_out: LeftOut,
) -> None:
    """Refuse a split with a class that train lacks, a train with a class that has no image, and one without images."""
    error: RunError | None = None
    if extra := sorted(escaped(name.name) for key, (name, _) in of_class.items() if key not in classes):
        told = ", ".join(class_advice(name, classes.values()) for name in extra)
        error = RunError(f"{escaped(str(folder))} holds classes that train does not have: {told}")
    elif not any(files for _, files in of_class.values()):
        error = RunError(f"{escaped(str(folder))} holds no images; expected <class>/<image>.{_not_read(left_out)}")
    elif folder in (root, root / "train"):
        empty = [name for name, files in of_class.values() if not files]
        if empty:
            names = ", ".join(escaped(name.name) for name in empty)
            below = {r: [n for n in names_ if _is_in(n, empty, root)] for r, names_ in left_out.items()}
            mend = "Put images there, or remove it"
            error = RunError(f"{escaped(str(folder))}: no image in the folder {names}.{_not_read(below)} {mend}")
    if error:
        error.hint = advice(root, folder)
        raise error


def _is_in(name: str, folders: list[Path], root: Path) -> bool:
    return any(name.startswith(f"{escaped(folder.relative_to(root).as_posix())}/") for folder in folders)


def _not_read(left_out: LeftOut) -> str:
    """What lies there instead of images."""
    words = left_out_words(left_out)
    return f" Left out: {words}." if words else ""


def _unlabelled(root: Path, layout: Layout, split: str) -> FolderSource:
    """The images of a folder without classes; the classes are those of the splits that have them."""
    classes = list(classes_of(layout.splits.values()).values())
    left_out: LeftOut = {}
    files = sorted(images_below(layout.unlabelled[split], root, left_out), key=lambda file: _place(file, root))
    facts = digest("folder", split, classes, file_facts(files, root))
    return FolderSource(root, files, [0] * len(files), classes, facts, labelled=False, left_out=left_out)


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
            "a split whose images lie in no class's folder has no labels. Below a class images may lie at any depth",
        },
    ),
    summary="images in folders named by class (jpg, png, webp, tif and whatever else Pillow reads)",
)
