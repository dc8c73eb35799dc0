"""Which column of a list of images holds what: as options say, or as the columns are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdrecipes.components.datasets.row_file import Rows
from kdrecipes.errors import RunError
from kdrecipes.wording import escaped, nearest

# What such columns are often called; compared in lower case.
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_file",
         "image_name", "img", "img_path")  # fmt: skip
LABELS = ("label", "labels", "label_name", "label_id", "class", "class_name", "class_id", "category", "target", "y")


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read; None where there is none."""

    path: str
    label: str | None
    split: str | None
    weight: str | None


def columns_of(
    rows: Rows,
    file: Path,
    path_column: str | None,
    label_column: str | None,
    split_column: str,
    weight_column: str,
) -> Columns:
    """Choose the columns.

    Args:
        rows: of the list.
        file: the list, for messages.
        path_column, label_column: as the recipe names them; None: as they are called.
        split_column, weight_column: their names; where they are the usual ones, they may be missing; "" for none.

    Raises:
        RunError: when a named column is missing, none or several could be meant.
    """
    split, weight = _if_there(rows, file, "split", split_column), _if_there(rows, file, "weight", weight_column)
    rest = [name for name in rows.columns if name and name not in (split, weight)]
    if path_column is not None:
        path: str | None = _named(rows, file, "path", path_column)
    else:
        path = _one_called(file, "path", PATHS, [name for name in rest if name != label_column])
    if path is None:
        raise _no_path(rows, file)
    rest = [name for name in rest if name != path]
    if label_column is not None:
        return Columns(path, _named(rows, file, "label", label_column), split, weight)
    label = _one_called(file, "label", LABELS, rest)
    if label is None and len(rest) > 1:
        raise _several(file, "label", rest)
    return Columns(path, label or next(iter(rest), None), split, weight)


def _named(rows: Rows, file: Path, what: str, name: str) -> str:
    """A column that an option names."""
    if name in rows.columns:
        return name
    near = nearest(name, rows.columns)
    end = f"; did you mean {near!r}?" if near else ""
    raise RunError(f"{escaped(str(file))} has no column {name!r}; it has {_listed(rows.columns)}{end}").at(
        f"dataset.{what}_column"
    )


def _if_there(rows: Rows, file: Path, usual: str, name: str) -> str | None:
    """A column that need not be there where it is called as usual."""
    if not name or (name == usual and name not in rows.columns):
        return None
    return _named(rows, file, usual, name)


def _one_called(file: Path, what: str, usual: Sequence[str], among: Sequence[str]) -> str | None:
    """The column that is called like what is looked for."""
    found = [name for name in among if name.lower() in usual]
    if len(found) > 1:
        raise _several(file, what, found)
    return found[0] if found else None


def _several(file: Path, what: str, found: Sequence[str]) -> RunError:
    return RunError(
        f"{escaped(str(file))}: each of these columns could be the {what}: {_listed(found)}. Say which: "
        f'{what}_column = "{found[0]}"'
    ).at("dataset.path")


def _no_path(rows: Rows, file: Path) -> RunError:
    first = next((name for name in rows.columns if name), "path")
    return RunError(
        f"{escaped(str(file))}: none of its columns ({_listed(rows.columns)}) is called like an image's path: "
        f'{", ".join(PATHS[:6])} … Say which: path_column = "{first}". If the first line is an image already, put the '
        "line path,label above it"
    ).at("dataset.path")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:8]) + (" …" if len(names) > 8 else "")
