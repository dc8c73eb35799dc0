"""The files of a run folder that facts stand in: how they are read, and what is said of a damaged one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from kdrecipes.disk import json_files
from kdrecipes.errors import UsageError, one_line
from kdrecipes.report.history import Row, read_history
from kdrecipes.report.typed_json import typed

SPARE = ("facts/measures.json", "facts/pictures.npz")  # without which there is a report all the same
T = TypeVar("T")


def path_of(name: str) -> str:
    """Where the facts of one name stand in a run folder, `"arms"` → `"facts/arms.json"`."""
    return f"facts/{name}.json"


def damaged(run: Path, file: str, why: str) -> UsageError:
    """The refusal of a run one of whose files can't be read."""
    way = f"`kdrecipes run RECIPE --out {run} --overwrite` makes the run anew"
    if file in SPARE:
        way = f"Delete it, and `kdrecipes report {run}` makes the report without it"
    return UsageError(f"{run / file} can't be read ({why}). {way}.")


def read_json(run: Path, file: str) -> Any:
    """A JSON file of a run folder.

    Raises:
        UsageError: when it is missing or damaged.
    """
    try:
        return json_files.read_json(run / file)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(run, file, one_line(error)) from error


def read_one(run: Path, name: str, kind: type[T]) -> T:
    """The facts of one thing, such as of the dataset; raises as `read_json`."""
    return _typed(run, name, kind, read_json(run, path_of(name)))


def read_several(run: Path, name: str, kind: type[T]) -> dict[str, T]:
    """The facts of several things by name, such as of the arms; raises as `read_json`."""
    value = read_json(run, path_of(name))
    if not isinstance(value, dict):
        raise damaged(run, path_of(name), "it is no table of facts")
    return {key: _typed(run, name, kind, one) for key, one in value.items()}


def _typed(run: Path, name: str, kind: type[T], value: Any) -> T:
    try:
        return typed(kind, value)
    except ValueError as error:
        raise damaged(run, path_of(name), str(error)) from error


def read_rows(run: Path) -> list[Row]:
    """The rows of `history.jsonl`; raises as `read_json`."""
    try:
        return read_history(run / "history.jsonl")
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(run, "history.jsonl", one_line(error)) from error
