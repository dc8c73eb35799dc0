"""`extends`: one parent recipe, merged before validation, and the file that every key came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from kdrecipes.errors import Code, Problem, RecipeError
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.source import MAX_DEPTH, packaged_recipes, parse, read
from kdrecipes.recipe.structure import CLOSED_LISTS, Data, definition, run_keys, show
from kdrecipes.wording import nearest, printable

# What names a recipe is never another's; nor is what is to be compared with it.
_OWN = ("$schema", "extends", "name", "description", "sweep")


class Place(NamedTuple):
    """Where a key is written; `folder` is what paths in that file are relative to."""

    file: str
    line: int
    column: int
    folder: Path


Places = dict[KeyPath, Place]


class Source(NamedTuple):
    """A recipe file with what it inherits: its display name, folder and text, the merged data and their places."""

    file: str
    folder: Path
    text: str
    data: Data
    places: Places


def read_merged(path: str) -> Source:
    """Read a recipe and the parents that it names with `extends`.

    Args:
        path: a file, or the name of a packaged recipe.

    Raises:
        RecipeError: when a file can't be read or parsed, or extends itself; a parent that can't be read is told in the
            place that names it.
    """
    return _with_parents(*read(path), ())


def _with_parents(file: str, folder: Path, text: str, children: tuple[Path, ...]) -> Source:
    data, positions = parse(text, file)
    places = {key: Place(file, line, column, folder) for key, (line, column) in positions.items()}
    if "extends" not in data:
        return Source(file, folder, text, data, places)
    value, at = data["extends"], places[("extends",)]

    def refuse(rule: str, suggestion: str = "", code: Code = "not-extendable") -> RecipeError:
        return RecipeError([Problem(file, at.line, at.column, "extends", rule, show(value), suggestion, code=code)])

    if not isinstance(value, str) or not value:
        raise refuse("must be the path of another recipe, or the name of a packaged one", code="wrong-type")
    packaged = not os.path.splitext(value)[1]
    beside = os.path.dirname(file) if Path(file).parent.resolve() == folder else str(folder)
    parent = value if packaged else str(folder / os.path.expanduser(value))
    try:
        found = read(parent)
    except RecipeError as error:
        near = "" if os.path.lexists(parent) else _nearest_recipe(value, parent, packaged)
        problem = error.problems[0]
        raise refuse(problem.rule, show(near) if near else "", problem.code) from None
    if not packaged:
        found = (_shown(os.path.join(beside, os.path.expanduser(value)), found[1]), *found[1:])
    files = (*children, folder / Path(file).name)
    if found[1] / Path(found[0]).name in files:
        raise refuse(f"goes in a circle: {' → '.join([*(f.name for f in files), Path(found[0]).name])}")
    if len(files) == MAX_DEPTH:
        raise refuse(f"is a recipe that is extended more than {MAX_DEPTH} times")
    above = _with_parents(*found, files)
    inherited: list[KeyPath] = []
    merged = _merge({key: part for key, part in above.data.items() if key not in _OWN}, data, (), inherited)
    del merged["extends"]
    kept = {key: place for key, place in above.places.items() if any(key[: len(i)] == i for i in inherited)}
    return Source(file, folder, text, merged, kept | places)


def _shown(path: str, folder: Path) -> str:
    """A path as messages show it: without `..` in its middle, where a link does not lead elsewhere by that."""
    short = os.path.normpath(path)
    return short if Path(short).parent.resolve() == folder else path


def _nearest_recipe(value: str, parent: str, packaged: bool) -> str:
    """What a wrong `extends` may have meant, written as it is; empty where nothing is near."""
    if packaged:
        return nearest(value, packaged_recipes())
    with suppress(OSError, ValueError):  # no such folder, or no name of a folder at all
        near = nearest(os.path.basename(parent), os.listdir(os.path.dirname(parent) or "."))
        return os.path.join(os.path.dirname(value), near) if near else ""
    return ""


def _merge(parent: Data, child: Data, path: KeyPath, inherited: list[KeyPath]) -> Data:
    """`child` over `parent`, key by key; the paths that come from the parent are added to `inherited`."""
    merged: Data = {}
    for key, value in _kept(parent, child, path).items():
        if key not in child:
            merged[key] = value
            inherited.append((*path, key))
    for key, value in child.items():
        both = isinstance(value, dict) and isinstance(parent.get(key), dict)
        merged[key] = _merge(parent[key], value, (*path, key), inherited) if both else value
    return merged


def _kept(parent: Data, child: Data, path: KeyPath) -> Data:
    """What of a parent's table stands beside the child's: of a table that names another thing, not its options."""
    if path == ("loss",) and ("terms" in child or child.get("name", parent.get("name")) != parent.get("name")):
        kept = set(definition("loss")["properties"]) - {"terms"}
    elif "name" not in child or child["name"] == parent.get("name"):
        return parent
    elif path in (("dataset",), ("teacher",), ("student",)):
        kept = set(run_keys(str(path[0])))
    elif path and path[-1] in CLOSED_LISTS:
        kept = set()
    else:
        return parent
    return {key: value for key, value in parent.items() if key in kept}


def rebase(value: str, place: Place, folder: Path) -> str:
    """A relative path that was written in another folder's recipe, as it would be written in `folder`'s."""
    expanded = os.path.expanduser(value)
    if place.folder == folder or os.path.isabs(expanded):
        return value
    moved = os.path.relpath(place.folder / expanded, folder)
    return moved if moved.startswith(os.pardir) else os.path.join(os.curdir, moved)  # a bare word may mean no path


def origins(data: Data, places: Places, overrides: Mapping[KeyPath, str]) -> dict[KeyPath, str]:
    """Where each key of `data` came from, as a person reads it: `base.toml:7`, `--set train.epochs=1`."""
    found: dict[KeyPath, str] = {}

    def walk(value: Any, path: KeyPath, command: str) -> None:
        command = f"--set {overrides[path]}" if path in overrides else command
        if command or path in places:
            found[path] = printable(command or f"{places[path].file}:{places[path].line}")
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            # A table that an override only began holds its children's overrides; one that it wrote is all its own.
            walk(part, (*path, key), command)

    walk(data, (), "")
    return found
