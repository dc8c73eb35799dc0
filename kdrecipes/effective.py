"""The effective recipe as TOML: every default filled in, every value with where it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdrecipes.positions import Path as KeyPath
from kdrecipes.positions import show_path
from kdrecipes.recipe import Recipe
from kdrecipes.structure import CLOSED_LISTS

DEFAULT = "default"


def effective_toml(recipe: Recipe) -> str:
    """A recipe file of the same fingerprint that leaves nothing out, each value with its origin as a comment.

    Paths are relative to the folder of the recipe itself.
    """
    lines: list[str] = []
    for path, value in _tables(recipe.data, ()):
        if path:
            header = f"[[{show_path(path[:-1])}]]" if isinstance(path[-1], int) else f"[{show_path(path)}]"
            lines += ["", header]
        for key, part in value.items():
            if part is None:
                lines.append(f"# {_key(key)} is null, which TOML has no word for")
            elif not _is_table(part) and not _is_tables(part):
                lines.append(f"{_key(key)} = {_value(part)}  # {origin_of(recipe, (*path, key))}")
    return "\n".join(lines) + "\n"


def origin_of(recipe: Recipe, path: KeyPath) -> str:
    """Where a value of the effective recipe came from: `base.toml:7`, `--set …`, `as train.epochs`, `default`."""
    if path in recipe.origins:
        return recipe.origins[path]
    same = path[1:]
    if path[:2] == ("teacher", "train") and same in recipe.origins and _is_taken_over(recipe, path):
        return f"as {show_path(same)}"
    return DEFAULT


def origins_of(recipe: Recipe) -> dict[str, str]:
    """The origin of each value of the effective recipe, by its path as a person writes it."""
    return {
        show_path((*path, key)): origin_of(recipe, (*path, key))
        for path, table in _tables(recipe.data, ())
        for key, part in table.items()
        if not _is_table(part) and not _is_tables(part)
    }


def _is_taken_over(recipe: Recipe, path: KeyPath) -> bool:
    """Whether `[teacher.train]` takes a key from `[train]`: not that of an optimizer or schedule of another name."""
    group = path[2]
    if group not in CLOSED_LISTS:
        return True
    own, students = recipe.data["teacher"]["train"][group], recipe.data["train"][group]
    return own["name"] == students["name"]


def _tables(table: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """The table and all below it, in the order that TOML wants: a table's own values before its tables."""
    yield path, table
    for key, part in table.items():
        if _is_table(part):
            yield from _tables(part, (*path, key))
        elif _is_tables(part):
            for index, item in enumerate(part):
                yield from _tables(item, (*path, key, index))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_table, value))


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON lets that control character stand
