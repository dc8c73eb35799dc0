"""From a recipe file, or a packaged recipe, to data and the place of every key."""

from __future__ import annotations

import json
import os.path
import re
import stat
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from kdrecipes.errors import Code, Problem, RecipeError
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.positions import Positions, place, positions, repeated, show_path, too_deep
from kdrecipes.recipe.structure import Data, show
from kdrecipes.recipe.syntax import not_json, not_toml
from kdrecipes.wording import nearest

MAX_BYTES = 2**20
MAX_DEPTH = 32
MOST_KEYS = 1_000  # of a table
MOST_TABLES = 1_000  # in an array
MOST_POINTS = 10_000  # of a sweep, in an array or by a grid
MOST_ENTRIES = 30_000  # in an array: the largest are names of classes
MOST_REQUIRED = 1_000  # distributions, each of which is looked for
MOST_TOLD_TWICE = 100


def is_json(file: str) -> bool:
    """Whether a recipe's file is JSON, by its suffix, in any case; else it is TOML."""
    return file.lower().endswith(".json")


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
    file = Path(path)
    names = packaged_recipes()
    looks_packaged = file.name == path or path.startswith("seed/")
    if path in names:
        item = resources.files("kdrecipes.packaged_recipes") / f"{path}.toml"
        with resources.as_file(item) as real:
            return f"{path}.toml", Path(real).parent, item.read_text(encoding="utf-8")
    if not file.suffix and not os.path.lexists(path) and looks_packaged:
        near = nearest(path, names)
        choices = "" if near else f" (packaged: {', '.join(names)})"
        rule = f"is neither a file nor a packaged recipe{choices}"
        raise _refused(path, "no-such-file", rule, show(path), show(near) if near else "")
    if file.suffix.lower() not in (".toml", ".json"):
        if os.path.lexists(path):
            raise _refused(path, "not-a-recipe", "a recipe is a .toml or .json file")
        raise _refused(path, "no-such-file", "no such file")
    return path, file.parent.resolve(), _text_of(path, file)


def _text_of(path: str, file: Path) -> str:
    """The text of a recipe file; `path` is how it was given."""
    try:
        facts = file.stat()
        if facts.st_size > MAX_BYTES:
            raise _refused(path, "too-large", f"a recipe has at most {MAX_BYTES:,} bytes", f"{facts.st_size:,} bytes")
        if not stat.S_ISREG(facts.st_mode) and not stat.S_ISDIR(facts.st_mode):  # which might never end
            raise _refused(path, "unreadable", "can't be read: it is no file but a pipe, a socket or a device")
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = nearest(file.name, [p.name for p in file.parent.glob("*")]) if file.parent.is_dir() else ""
        meant = show(str(file.with_name(near))) if near else ""
        raise _refused(path, "no-such-file", "no such file", show(path), meant) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = len(error.object[error.object.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        rule, received = "is not UTF-8 text; save the file in that encoding", f"byte 0x{error.object[error.start]:02x}"
        raise RecipeError([Problem(path, line, column, "", rule, received, code="not-utf8")]) from None
    except OSError as error:
        raise _refused(path, "unreadable", f"can't be read: {error.strerror}") from None
    except ValueError as error:  # a null byte in the name
        raise _refused(path, "unreadable", f"can't be read: {error}") from None


def _refused(path: str, code: Code, rule: str, received: str = "", suggestion: str = "") -> RecipeError:
    """A file as a whole is refused."""
    return RecipeError([Problem(path, 0, 0, "", rule, received, suggestion, code=code)])


def parse(text: str, file: str) -> tuple[dict[str, Any], Positions]:
    """The data of a recipe's text, and where each key and array element stands."""
    json_text = is_json(file)

    def refuse(line: int, column: int, code: Code, rule: str, path: KeyPath = ()) -> RecipeError:
        return RecipeError([Problem(file, line, column, show_path(path), rule, code=code)])

    deep = too_deep(text, MAX_DEPTH + 1, json=json_text)
    if deep is not None:
        raise refuse(*place(text, deep), "too-large", _NESTED)
    try:
        data = _from_json(text, file) if json_text else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError([not_json(text, file, error)]) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(_twice(text, file) or [not_toml(text, file, str(error))]) from None
    except ValueError:  # int() refuses more than 4300 digits
        digits = re.search(r"[0-9][0-9_]{4300}", text)
        at = place(text, digits.start() if digits else 0)
        raise refuse(*at, "too-large", "has a number of thousands of digits") from None
    if not isinstance(data, dict):
        raise refuse(1, 1, "not-a-recipe", "a recipe is one JSON object, { … }")
    found = positions(text, json=json_text)
    if too := _too_large(data):
        raise refuse(*found.get(too[0], (1, 1)), "too-large", too[1], too[0])
    return data, found


def _from_json(text: str, file: str) -> Any:
    """The data of a JSON text; Python keeps the last of two equal keys, and a recipe has no such."""
    twice = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        table = dict(items)
        twice = twice or len(table) < len(items)
        return table

    data = json.loads(text, object_pairs_hook=pairs)
    if twice:
        raise RecipeError(_twice(text, file))
    return data


def _twice(text: str, file: str) -> list[Problem]:
    """One problem for each key or table that stands twice; of very many the first ones."""
    problems = []
    for path, first, second in repeated(text, json=is_json(file))[:MOST_TOLD_TWICE]:
        rule = f"stands twice; the first is in line {place(text, first)[0]}"
        problems.append(Problem(file, *place(text, second), show_path(path), rule, code="repeated-key"))
    return problems


_NESTED = f"must not be nested deeper than {MAX_DEPTH} levels"


def _too_large(data: Data) -> tuple[KeyPath, str] | None:
    """A path, cut after MAX_DEPTH parts, at which a recipe is too deep or too wide to be checked soon, and the rule."""
    stack: list[tuple[KeyPath, Data | list[Any]]] = [((), data)]
    while stack:
        path, value = stack.pop()
        if len(path) == MAX_DEPTH and value:
            return (*path, next(iter(value)) if isinstance(value, dict) else 0), _NESTED
        if isinstance(value, dict) and len(value) > MOST_KEYS:
            return path, f"must have at most {MOST_KEYS:,} keys"
        if isinstance(value, list):
            most = MOST_POINTS if path[-1] == "points" else MOST_TABLES
            longest = MOST_REQUIRED if path == ("requires",) else MOST_ENTRIES
            if len(value) > longest:
                return path, f"must have at most {longest:,} entries"
            if sum(isinstance(part, dict | list) for part in value) > most:
                return path, f"must have at most {most:,} tables and arrays in it"
        parts: Iterable[tuple[str | int, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        stack += [((*path, key), part) for key, part in reversed(list(parts)) if isinstance(part, dict | list)]
    return None
