"""The effective recipe as TOML: every default filled in, every value with where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.positions import show_path
from kdrecipes.recipe.structure import CLOSED_LISTS, teacher_tables
from kdrecipes.recipe.tables import Recipe
from kdrecipes.recipe.toml_writer import toml_key, toml_value

DEFAULT = "default"


def effective_toml(recipe: Recipe) -> str:
    """A recipe file of the same fingerprint that leaves nothing out, each value with its origin as a comment.

    Paths are relative to the folder of the recipe itself.
    """
    lines: list[str] = []
    for path, values in _tables(recipe.data, ()):
        header = ".".join(toml_key(part) for part in path if isinstance(part, str))
        if path:
            lines += ["", f"[[{header}]]" if isinstance(path[-1], int) else f"[{header}]"]
        for key, value in values.items():
            lines.append(f"{toml_key(key)} = {toml_value(value)}  # {origin_of(recipe, (*path, key))}")
    return "\n".join(lines) + "\n"


def origin_of(recipe: Recipe, path: KeyPath) -> str:
    """Where a value of the effective recipe came from: `base.toml:7`, `--set …`, `as train.epochs`, `default`."""
    if path in recipe.origins:
        return recipe.origins[path]
    for teacher, table in teacher_tables(dict(recipe.data)):
        same = path[len(teacher) :]
        within = path[: len(teacher) + 1] == (*teacher, "train")
        if within and same in recipe.origins and _is_taken_over(recipe, table, same):
            return f"as {show_path(same)}"
    return DEFAULT


def origins_of(recipe: Recipe) -> dict[str, str]:
    """The origin of each value of the effective recipe, by its path as a person writes it."""
    return {
        show_path((*path, key)): origin_of(recipe, (*path, key))
        for path, values in _tables(recipe.data, ())
        for key in values
    }


def _is_taken_over(recipe: Recipe, teacher: Mapping[str, Any], same: KeyPath) -> bool:
    """Whether a teacher takes a key from `[train]`: not that of an optimizer or schedule of another name."""
    group = same[1]
    if group not in CLOSED_LISTS:
        return True
    return bool(teacher["train"][group]["name"] == recipe.data["train"][group]["name"])


def _tables(table: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """The table and those below it, each with its own values, in the order that TOML wants."""
    within = [key for key, part in table.items() if isinstance(part, Mapping)]
    listed = [key for key, part in table.items() if _is_tables(part)]
    yield path, {key: part for key, part in table.items() if key not in (*within, *listed)}
    for key in within:
        yield from _tables(table[key], (*path, key))
    for key in listed:
        for index, entry in enumerate(table[key]):
            yield from _tables(entry, (*path, key, index))


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
