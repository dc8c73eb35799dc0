"""`--set` fragments, merged into a recipe's data."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from kdrecipes.errors import Problem, RecipeError
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.positions import show_path, too_deep
from kdrecipes.recipe.source import MAX_DEPTH
from kdrecipes.recipe.syntax import BACKSLASH, strange
from kdrecipes.wording import printable


def override(data: dict[str, Any], overrides: Iterable[str]) -> dict[KeyPath, str]:
    """Merge `--set` fragments into `data`; returns which text set which path.

    `train.epochs=1` sets one key and leaves its neighbours; `train={epochs=1}` replaces the whole table.

    Raises:
        RecipeError: for what is no `key=value` of TOML, or names a key within an array.
    """
    origin: dict[KeyPath, str] = {}
    for text in overrides:
        path, value = _fragment(text)
        target = data
        for depth, part in enumerate(path[:-1], 1):
            if isinstance(target.get(part), list):  # an entry of which is not to be told from the others
                rule = "is an array here: set it as a whole, or change the recipe"
                place = show_path(path[:depth])
                raise RecipeError([Problem(f"--set {printable(text)}", 0, 0, place, rule, code="misplaced-key")])
            if not isinstance(target.get(part), dict):
                target[part] = {}
                origin[path[:depth]] = text
            target = target[part]
        target[path[-1]] = value
        for old in [old for old in origin if old[: len(path)] == path]:
            del origin[old]
        origin[path] = text
    return origin


def dotted(key: str) -> KeyPath | None:
    """The path that a dotted key of TOML names, `loss.temperature`; None where the text is no such key."""
    try:
        found: Any = tomllib.loads(f"{key} = 0") if "=" not in key and "\n" not in key else {}
    except ValueError:
        return None
    path: tuple[str, ...] = ()
    while isinstance(found, dict):
        if len(found) != 1:
            return None
        ((part, found),) = found.items()
        path = (*path, part)
    return path if len(path) < MAX_DEPTH else None


def _fragment(text: str) -> tuple[tuple[str, ...], Any]:
    """The path and value of one `--set key=value`."""
    rule = "is not TOML; write key=value, with strings in double quotes: --set 'student.name=\"cnn\"'"
    odd = next(filter(None, map(strange, text)), "") or (BACKSLASH if "\\" in text else "")
    rule += f"; {odd}" if odd else ""
    refusal = RecipeError([Problem(f"--set {printable(text)}", 0, 0, "", rule, code="not-toml")])
    if too_deep(text, MAX_DEPTH - 1, json=False) is not None:
        raise refusal
    try:
        key: Any = tomllib.loads(text.partition("=")[0] + "=0")
        value: Any = tomllib.loads(text)
        path: tuple[str, ...] = ()
        while isinstance(key, dict):
            ((part, key),) = key.items()
            ((same, value),) = value.items()
            if part != same:
                raise ValueError(text)
            path = (*path, part)
    except (ValueError, AttributeError):  # no TOML, or more than one key
        raise refusal from None
    return path, value
