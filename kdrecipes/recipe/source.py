"""From a recipe file, or a packaged recipe, to data and the place of every key."""

from __future__ import annotations

import json
import os.path
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from kdrecipes.errors import Problem, RecipeError
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.positions import Positions, place, positions, repeated, show_path, too_deep
from kdrecipes.recipe.structure import show
from kdrecipes.wording import nearest

MAX_BYTES = 2**20
MAX_DEPTH = 32


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with kdrecipes, for `kdrecipes run NAME`: `digits`, `seed/…`."""
    root = resources.files("kdrecipes.packaged_recipes")
    folders = {"": root, "seed/": root / "seed"}
    return sorted(
        prefix + item.name[:-5]
        for prefix, folder in folders.items()
        for item in folder.iterdir()
        if item.name.endswith(".toml")
    )


def read(path: str) -> tuple[str, Path, str]:
    """The display name, folder and text of a recipe file or packaged recipe."""

    def refuse(rule: str, received: str = "", suggestion: str = "") -> RecipeError:
        return RecipeError([Problem(path, 0, 0, "", rule, received, suggestion)])

    file = Path(path)
    names = packaged_recipes()
    looks_packaged = file.name == path or path.startswith("seed/")
    if path in names or (not file.suffix and not os.path.lexists(path) and looks_packaged):
        if path not in names:
            near = nearest(path, names)
            choices = "" if near else f" (packaged: {', '.join(names)})"
            rule = f"is neither a file nor a packaged recipe{choices}"
            raise refuse(rule, show(path), show(near) if near else "")
        item = resources.files("kdrecipes.packaged_recipes") / f"{path}.toml"
        with resources.as_file(item) as real:
            return f"{path}.toml", Path(real).parent, item.read_text(encoding="utf-8")

    if file.suffix not in (".toml", ".json"):
        exists = os.path.lexists(path)
        raise refuse("a recipe is a .toml or .json file" if exists else "no such file")
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            raise refuse(f"a recipe has at most {MAX_BYTES:,} bytes", f"{size:,} bytes")
        return path, file.parent.resolve(), file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = nearest(file.name, [p.name for p in file.parent.glob("*")]) if file.parent.is_dir() else ""
        raise refuse("no such file", show(path), show(str(file.with_name(near))) if near else "") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = len(error.object[error.object.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        rule = "is not UTF-8 text; save the file in that encoding"
        raise RecipeError([Problem(path, line, column, "", rule, f"byte 0x{error.object[error.start]:02x}")]) from None
    except OSError as error:
        raise refuse(f"can't be read: {error.strerror}") from None
    except ValueError as error:  # a null byte in the name
        raise refuse(f"can't be read: {error}") from None


# What tomllib's messages mean to the person who wrote the line; the words after the colon are ours.
_TOML_WORDS = {
    "Invalid value": "a value is expected here: a number, true, false, an array, a table, or text in double quotes",
    "Illegal character '\\n'": "this string is not closed on its line",
    "Unescaped '\\'": "a backslash in double quotes starts an escape; write two, or use single quotes",
    "Expected '='": "a key is followed by = and its value",
    "Invalid statement": "a key, a [table] or a # comment is expected here",
    "Expected newline or end of document": "one `key = value` stands on a line, and nothing after it but a # comment",
    "Unclosed array": "this array is not closed",
    "Unclosed inline table": "this inline table is not closed",
    "Invalid initial character for a key part": "a key consists of letters, digits, _ and -, or stands in quotes",
}


def parse(text: str, file: str) -> tuple[dict[str, Any], Positions]:
    is_json = file.endswith(".json")
    twice = False

    def refuse(line: int, column: int, rule: str, path: KeyPath = ()) -> RecipeError:
        return RecipeError([Problem(file, line, column, show_path(path), rule)])

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        table = dict(items)
        twice = twice or len(table) < len(items)
        return table

    nested = f"must not be nested deeper than {MAX_DEPTH} levels"
    deep = too_deep(text, MAX_DEPTH + 1, json=is_json)
    if deep is not None:
        raise refuse(*place(text, deep), nested)
    try:
        data = json.loads(text, object_pairs_hook=pairs) if is_json else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise refuse(error.lineno, error.colno, f"is not JSON: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        if again := _twice(text, file):
            raise RecipeError(again) from None
        line, column, message = _toml_error_place(str(error), text)
        words = next((ours for theirs, ours in _TOML_WORDS.items() if message.startswith(theirs)), message)
        bare = re.match(r"[^\W\d]\w*", text.split("\n")[line - 1][column - 1 :]) if message == "Invalid value" else None
        received = bare[0] if bare else ""
        meant = received.lower() if received in ("True", "False") else show(received) if received else ""
        raise RecipeError([Problem(file, line, column, "", f"is not TOML: {words}", received, meant)]) from None
    except ValueError:  # int() refuses more than 4300 digits
        digits = re.search(r"[0-9][0-9_]{4300}", text)
        raise refuse(*place(text, digits.start() if digits else 0), "has a number of thousands of digits") from None
    if twice:
        raise RecipeError(_twice(text, file))
    if not isinstance(data, dict):
        raise refuse(1, 1, "a recipe is one JSON object, { … }")
    found = positions(text, json=is_json)
    if too := _too_deep_path(data):
        raise refuse(*found[too], nested, too)
    return data, found


def _twice(text: str, file: str) -> list[Problem]:
    """One problem for each key or table that stands twice."""
    problems = []
    for path, first, second in repeated(text, json=file.endswith(".json")):
        rule = f"stands twice; the first is in line {place(text, first)[0]}"
        problems.append(Problem(file, *place(text, second), show_path(path), rule))
    return problems


def _toml_error_place(message: str, text: str) -> tuple[int, int, str]:
    """tomllib ends its messages with "(at line L, column C)" or "(at end of document)"."""
    what, _, where = message.rpartition(" (at ")
    words = where.rstrip(")").replace(",", "").split()
    if words[:1] == ["line"]:
        return int(words[1]), int(words[3]), what
    return *place(text, len(text.rstrip())), what or message


def _too_deep_path(data: dict[str, Any]) -> KeyPath:
    """The first path of more than MAX_DEPTH parts, cut there; empty where there is none."""
    stack: list[tuple[KeyPath, Any]] = [((), data)]
    while stack:
        path, value = stack.pop()
        if len(path) > MAX_DEPTH:
            return path
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        stack += [((*path, key), part) for key, part in reversed(list(parts))]
    return ()
