"""A list of images, checked: which column is what, which file, class, split and weight each row has."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.datasets.class_names import UNLABELLED, label_text, no_class, numbered, plain_numbers
from kdrecipes.components.datasets.list_columns import Columns, columns_of
from kdrecipes.components.datasets.row_file import Rows, read_rows
from kdrecipes.components.datasets.source import no_weight
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError
from kdrecipes.wording import escaped, listed

if TYPE_CHECKING:
    import numpy as np

_SPLIT = re.compile("[A-Za-z0-9_.-]+")  # what a recipe can name


@dataclass(frozen=True)
class ListedImages:
    """The rows of a list, which have nothing wrong with them.

    Attributes:
        root: the folder of the images.
        classes: the classes' names.
        names: of each row's file, below the root.
        labels: number of each row's class; None where it has none.
        split_names: of each row; "" where it has none.
        weights: of each row; None where the list has no weights.
    """

    root: Path
    classes: list[str]
    names: list[str]
    labels: list[int | None]
    split_names: list[str]
    weights: list[float] | None

    def splits(self) -> dict[str, list[int]]:
        """The rows of each split."""
        labelled = self._with_labels()
        found: dict[str, list[int]] = {}
        for row, (name, label) in enumerate(zip(self.split_names, self.labels, strict=True)):
            loose = label is None and (not name or name in labelled)
            found.setdefault(UNLABELLED if loose else name, []).append(row)
        return found

    def without_label(self, split: str) -> list[int]:
        """The rows that a list gives to a split, and that are not in it, having no label as others have."""
        if split == UNLABELLED or split not in self._with_labels():
            return []
        rows = zip(self.split_names, self.labels, strict=True)
        return [row for row, (name, label) in enumerate(rows) if name == split and label is None]

    def weights_of(self, rows: Sequence[int]) -> np.ndarray | None:
        """float32 (rows,), those of some rows."""
        import numpy as np

        return None if self.weights is None else np.array([self.weights[row] for row in rows], np.float32)

    def _with_labels(self) -> set[str]:
        """The splits in which a row has a label."""
        return {name for name, label in zip(self.split_names, self.labels, strict=True) if label is not None} - {
            UNLABELLED
        }


def listed_images(
    path: str,
    root: str | None,
    classes: Sequence[str] | None,
    path_column: str | None,
    label_column: str | None,
    split_column: str = "split",
    weight_column: str = "weight",
) -> ListedImages:
    """Read and check a list; the arguments are the options of the dataset `file_list`.

    Raises:
        EnvironmentProblem: when the list or the root is not there, or pyarrow, which Parquet needs.
        RunError: naming every row that can't be used, up to 20.
    """
    file = Path(path).expanduser()
    folder = Path(root).expanduser() if root else file.parent
    if root and not folder.is_dir():
        raise EnvironmentProblem(f"{escaped(root)} is not a folder").at("dataset.root")
    try:
        rows = read_rows(file)
    except KDRecipesError as error:
        error.at("dataset.path")
        raise
    if not rows.values:
        _refuse(file, rows, rows.problems)
        raise RunError(f"{escaped(str(file))}: it lists no image").at("dataset.path")
    columns = columns_of(rows, file, path_column, label_column, split_column, weight_column)
    checked = _Checked(rows, columns, folder)
    problems = [*rows.problems, *checked.problems]
    names, numbers = _classes(checked, classes, problems)
    _refuse(file, rows, problems)
    if len(names) < 2:
        received = f"one: {names[0]!r}" if names else "none"
        raise RunError(
            f"{escaped(str(file))}: labels of two classes or more are needed. Received: {received}. Where the list has "
            'no labels, dataset.classes names the classes: classes = ["cat", "dog"]'
        ).at("dataset.path")
    labels = [None if label is None else numbers[label] for label in checked.labels]
    return ListedImages(folder, names, checked.names, labels, checked.splits, checked.weights)


class _Checked:
    """The cells of all rows, with what is wrong with them in `problems`."""

    def __init__(self, rows: Rows, columns: Columns, root: Path):
        self.rows, self.problems = rows, list[str]()
        inside = _Inside(root)
        self.names = self._each(columns.path, inside)
        empty: list[Any] = [None] * len(rows.values)
        found = self._each(columns.label, label_text) if columns.label else empty
        self.labels = plain_numbers(found)
        self.splits = self._each(columns.split, _split) if columns.split else ["train"] * len(rows.values)
        self.weights = self._each(columns.weight, _weight) if columns.weight else None
        if columns.split:
            for place, split, label in zip(rows.places, self.splits, self.labels, strict=True):
                if split == "" and label is not None:
                    self.problems.append(f"{place}: no split, in the column {columns.split!r}")

    def _each(self, column: str, read: Callable[[Any], Any]) -> list[Any]:
        """The cells of a column as `read` gives them; what it refuses is None."""
        found = []
        for place, cell in zip(self.rows.places, self.rows.column(column), strict=True):
            try:
                found.append(read(cell))
            except ValueError as error:
                found.append(None)
                self.problems.append(f"{place}: {error}")
        return found


def _refuse(file: Path, rows: Rows, problems: Sequence[str]) -> None:
    """Tell all problems at once, in the order of the file: each begins with its row's place."""
    if not problems:
        return
    count, of = len({text.partition(":")[0] for text in problems}), len(rows.values) + len(rows.problems)
    head = f"{escaped(str(file))}: {count:,} of its {of:,} rows can't be used:"
    inorder = sorted(problems, key=lambda text: int(text.partition(":")[0].split()[1]))
    raise RunError("\n".join([head, *listed([f"  {problem}" for problem in inorder])])).at("dataset.path")


def _classes(checked: _Checked, given: Sequence[str] | None, problems: list[str]) -> tuple[list[str], dict[str, int]]:
    """The classes and their labels' numbers; labels that are of none become problems."""
    pairs = list(zip(checked.splits, checked.labels, strict=True))
    all_ = {label for split, label in pairs if label is not None and split != UNLABELLED}
    train = {label for split, label in pairs if label is not None and split == "train"} or all_
    names, numbers = numbered(train, all_, given)
    for place, (split, label) in zip(checked.rows.places, pairs, strict=True):
        if label is not None and label not in numbers:
            if split and split != UNLABELLED:
                problems.append(f"{place}: {no_class(label, numbers, names, given is not None)}")
            else:
                numbers[label] = 0  # never read
    return names, numbers


class _Inside:
    """Whether a path stays in a folder, with all links followed.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path):
        self.root, self.real = root, os.path.realpath(root)
        self._folders: dict[str, str] = {}  # a list has many files of few folders

    def __call__(self, cell: Any) -> str:
        """The name below the root of the file that a cell names."""
        if not isinstance(cell, str) or not cell.strip():
            raise ValueError("no path" if cell is None or cell == "" else f"{cell!r:.60} is no path")
        if "\0" in cell:
            raise ValueError(f"{cell!r:.60} is no path")
        if "\\" in cell and os.sep == "/" and not os.path.lexists(self.root / cell):
            cell = cell.replace("\\", "/")  # as Windows writes it
        whole = os.path.join(self.root, cell)
        parent, name = os.path.split(whole)
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(parent)
        real = os.path.join(self._folders[parent], name)
        if name in ("", ".", "..") or os.path.islink(real):
            real = os.path.realpath(real)
        if not real.startswith(os.path.join(self.real, "")):
            by = "by '..'" if ".." in cell.split("/") else "from its beginning" if os.path.isabs(cell) else "by a link"
            raise ValueError(f"{escaped(cell)!r} leaves the root {escaped(str(self.root))} {by}; see dataset.root")
        if not os.path.isabs(cell) and not {"", ".", ".."} & set(cell.split("/")):
            return str(cell)  # the usual case, of a million rows
        return Path(os.path.relpath(os.path.normpath(whole), self._base(whole))).as_posix()

    def _base(self, whole: str) -> str:
        """What the name is relative to: the root as it is written, or as an absolute path may spell it."""
        written = os.path.normpath(self.root)
        return written if os.path.normpath(whole).startswith(os.path.join(written, "")) else self.real


def _split(cell: Any) -> str:
    if cell is None or cell == "":
        return ""
    if not isinstance(cell, str) or not _SPLIT.fullmatch(cell):
        raise ValueError(f"{cell!r:.60} can't name a split: letters, digits, '_', '.' and '-'")
    return str(cell)


def _weight(cell: Any) -> float:
    if cell is None or cell == "":
        return 1.0
    try:
        weight = float(cell)
    except (TypeError, ValueError):
        weight = -1.0
    if isinstance(cell, bool) or not 0 <= weight < float("inf"):
        raise ValueError(no_weight(cell))
    return weight
