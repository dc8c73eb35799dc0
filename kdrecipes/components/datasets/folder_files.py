"""Which files below a folder are images to read, and which are left out, by reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from kdrecipes.errors import EnvironmentProblem
from kdrecipes.wording import escaped

# Reasons, as they follow a count: "2 hidden or the system's".
HIDDEN = "hidden or the system's"
DEAD_LINK = "as a link that leads nowhere"
CIRCLE = "as a link to a folder that it lies in"
SPECIAL = "neither file nor folder"
STRAY = "in no class's folder"

# What systems and programs leave among people's files; compared in lower case.
_SYSTEM = {
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "@recycle",
    "@recently-snapshot",
    "$recycle.bin",
    "__pycache__",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "thumbs.db:encryptable",
    "desktop.ini",
    "picasa.ini",
    "icon\r",
}
# Pillow knows these formats by name and needs another program, or a plugin of its own, to decode them.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}

LeftOut = dict[str, list[str]]  # by reason: names below the dataset's folder


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of what Pillow reads here, in lower case, such as ".jpg"."""
    from PIL import Image

    Image.init()
    formats = Image.OPEN.keys() - _NOT_DECODED
    known = {suffix.lower() for suffix, name in Image.registered_extensions().items() if name in formats}
    return frozenset(known | {".mpo"})  # a JPEG, which Pillow registers for writing only


def is_image(name: str) -> bool:
    """Whether a file of that name is read."""
    return os.path.splitext(name)[1].lower() in suffixes()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is nobody's data."""
    return name.startswith(".") or name.lower() in _SYSTEM


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies directly in a folder, by name.

    Raises:
        EnvironmentProblem: when the system refuses it.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise EnvironmentProblem(f"{escaped(str(folder))} can't be read: {error.strerror or error}.") from error


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, by name, without hidden ones and links in a circle."""
    within = _identities(folder)
    return [
        Path(entry)
        for entry in entries(folder)
        if not is_hidden(entry.name) and _is_folder(entry) and not _is_circle(entry, within)
    ]


def holds_images(folder: Path) -> bool:
    """Whether an image lies directly in `folder`."""
    return any(is_image(entry.name) and not is_hidden(entry.name) and _is_file(entry) for entry in entries(folder))


def images_below(folder: Path, root: Path, left_out: LeftOut) -> list[Path]:
    """The images in `folder`, at any depth; what is no image to read is added to `left_out`.

    Args:
        folder: a class's.
        root: names in `left_out` are below it.
        left_out: by reason.
    """
    return list(_walk(folder, root, left_out, _identities(folder)))


def add_beside(folder: Path, root: Path, left_out: LeftOut) -> None:
    """Add to `left_out` what lies in a split's folder beside the classes' folders."""
    within = _identities(folder)
    for entry in entries(folder):
        if reason := _reason(entry, within):
            _add(left_out, reason, entry, root)
        elif not _is_folder(entry):
            _add(left_out, STRAY, entry, root)


def _walk(folder: Path, root: Path, left_out: LeftOut, within: set[tuple[int, int]]) -> Iterator[Path]:
    for entry in entries(folder):
        if reason := _reason(entry, within):
            _add(left_out, reason, entry, root)
        elif _is_folder(entry):
            yield from _walk(Path(entry), root, left_out, within | {_identity(entry.path)})
        else:
            yield Path(entry)


def _reason(entry: os.DirEntry[str], within: set[tuple[int, int]]) -> str:
    """Why an entry is neither an image to read nor a folder to look into; empty where it is."""
    if is_hidden(entry.name):
        return HIDDEN
    if _is_folder(entry):
        return CIRCLE if _is_circle(entry, within) else ""
    if not _is_file(entry):
        return DEAD_LINK if entry.is_symlink() else SPECIAL
    if is_image(entry.name):
        return ""
    suffix = os.path.splitext(entry.name)[1].lower()
    return f"with the suffix {escaped(suffix)}, which is not read" if suffix else "without a suffix"


def _add(left_out: LeftOut, reason: str, entry: os.DirEntry[str], root: Path) -> None:
    """Count a file, or each file of a hidden folder; a link is one."""
    files = [Path(entry)]
    if reason == HIDDEN and entry.is_dir(follow_symlinks=False):
        files = sorted(Path(folder, name) for folder, _, names in os.walk(entry) for name in names)
    if files:
        left_out.setdefault(reason, []).extend(escaped(file.relative_to(root).as_posix()) for file in files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_circle(entry: os.DirEntry[str], within: set[tuple[int, int]]) -> bool:
    return entry.is_symlink() and _identity(entry.path) in within


def _identity(folder: str | Path) -> tuple[int, int]:
    """What tells a folder from another, whatever links lead to it."""
    facts = os.stat(folder)
    return facts.st_dev, facts.st_ino


def _identities(folder: Path) -> set[tuple[int, int]]:
    """Those of a folder and of all that it lies in."""
    return {_identity(place) for place in (folder, *folder.resolve().parents)}
