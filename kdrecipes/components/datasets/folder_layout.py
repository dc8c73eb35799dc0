"""Which folders are splits and which are classes; what to do with a layout that is not read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdrecipes.components.datasets.folder_files import entries, holds_images, is_hidden, subfolders
from kdrecipes.errors import RunError
from kdrecipes.wording import escaped, nearest

_USUAL = re.compile(r"(train|val|valid|test|dev|eval)(ing|idation|uation)?([ _-]?(set|data|split|images))?", re.I)
# How the folders of a split begin, by the key that names it; the first is the likeliest.
_STEMS = {"train": ("train",), "validation": ("val", "dev"), "test": ("test",)}
_LABEL_FILE = re.compile(r".*\.(csv|tsv|json|xml)|.*(label|annot|class|target).*\.txt", re.I)
_IMAGES = {"image", "images", "img", "imgs", "jpegimages"}
_ANNOTATIONS = {"label", "labels", "annotation", "annotations", "masks", "segmentationclass"}


@dataclass(frozen=True)
class Layout:
    """The folders of a dataset, by their names.

    Attributes:
        splits: those that hold a folder for each class.
        unlabelled: those beside them that hold images and no folder.
    """

    splits: dict[str, Path]
    unlabelled: dict[str, Path]


def layout_of(root: Path, split: str) -> Layout:
    """The layout of the dataset in `root`, of which `split` is asked.

    A folder that holds folders and no image of its own is a split. Where there is none, all classes are `train`: a
    class may be called "train" too. So they are where `train` is asked and no folder is called like a split: then
    they are classes whose images lie deeper.
    """
    folders = subfolders(root)
    deep = {folder for folder in folders if subfolders(folder)}
    own = {folder for folder in folders if holds_images(folder)}
    splits = {folder.name: folder for folder in folders if folder in deep - own}
    if all(folder in deep - own or is_usual(folder.name) for folder in folders):
        # An image beside the classes' folders makes no class of a split.
        splits |= {folder.name: folder for folder in folders if folder in deep}
    elif splits:  # nor beside a folder without labels
        splits |= {folder.name: folder for folder in folders if folder in deep and is_usual(folder.name)}
    usual = any(is_usual(folder.name) for folder in folders)
    if not splits or (split == "train" and "train" not in splits and not usual and len(folders) > 1):
        return Layout({"train": root}, {})
    return Layout(splits, {folder.name: folder for folder in folders if folder in own - deep})


def is_usual(name: str) -> bool:
    """Whether a split is often called so, as `train`, `val` or `test_set` are."""
    return _USUAL.fullmatch(name) is not None


def class_key(name: str) -> str:
    """What makes two folders one class: their names as people see them, whatever the Unicode form."""
    return unicodedata.normalize("NFC", escaped(name))


def classes_of(folders: Iterable[Path]) -> dict[str, str]:
    """The classes of some splits: each one's name by its key, sorted by name.

    Raises:
        RunError: when two folders of a split are one class.
    """
    names: dict[str, str] = {}
    for folder in folders:
        here: dict[str, str] = {}
        for name in (path.name for path in subfolders(folder)):
            other = here.setdefault(class_key(name), name)
            if other != name:
                raise RunError(
                    f"{escaped(str(folder))}: the names of two folders look alike and differ in their Unicode form: "
                    f"{other!a} and {name!a}. Move the images of one into the other."
                )
        names = here | names
    return dict(sorted(((key, escaped(name)) for key, name in names.items()), key=lambda pair: pair[1]))


def advice(root: Path, folder: Path) -> str:
    """What to do with a folder whose layout is known and is not read; empty where it is not known."""
    inner = {path.name.lower() for path in subfolders(folder)}
    if inner & _IMAGES and inner & _ANNOTATIONS:
        return (
            "Folders of images and of labels side by side are a layout for detection or segmentation. Here an image's "
            "class is the name of its folder: <class>/<image>."
        )
    labels = [
        entry.name
        for place in dict.fromkeys((folder, root))
        for entry in entries(place)
        if _LABEL_FILE.fullmatch(entry.name) and not is_hidden(entry.name) and entry.is_file()
    ]
    if labels and inner <= _IMAGES:
        place = "" if folder == root else f"{escaped(folder.name)}/"
        return (
            f"Do the labels stand in {escaped(labels[0])}? It is not read: an image's class is the name of its "
            f"folder. Move each image to {place}<class>/<image>."
        )
    if inner <= _IMAGES and (holds_images(folder) or any(map(holds_images, subfolders(folder)))):
        return "An image's class is the name of its folder: <class>/<image>."
    return ""


def split_advice(root: Path, split: str, layout: Layout) -> str:
    """What to write where a split is not there; empty where nobody can tell."""
    names = [*layout.splits, *layout.unlabelled]
    key, stems = next(((key, stems) for key, stems in _STEMS.items() if split.lower().startswith(stems)), ("", ()))
    like = [name for stem in stems for name in names if is_usual(name) and name.lower().startswith(stem)]
    if like:
        return f'Did you mean `{key} = "{like[0]}"`?'
    if not key and (near := nearest(split, names)):
        return f'Did you mean "{escaped(near)}"?'
    if len(names) == 1 and names[0] != "train":
        return f"Is {escaped(names[0])} the dataset's folder? Then write path = {escaped(str(root / names[0]))!r}."
    return ""


def class_advice(name: str, classes: Iterable[str]) -> str:
    """A class that train lacks, with the one of train that may be meant: `Dog (train has dog)`."""
    known = {one.casefold(): one for one in classes}
    near = nearest(name.casefold(), known, 0.8)
    return f"{name} (train has {known[near]})" if near else name
