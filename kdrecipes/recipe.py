"""Recipes: file → overrides → validation → `Recipe`, frozen and fingerprinted. Imports neither torch nor keras."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os.path
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from kdrecipes.errors import EnvironmentProblem, Problem, RecipeError
from kdrecipes.positions import Path as KeyPath
from kdrecipes.positions import Positions, place, positions, printable, repeated, show_path, too_deep
from kdrecipes.registry import Registry, load_registry, nearest, recipe_options
from kdrecipes.validation import (
    Checker,
    component_tables,
    definition,
    parse_requirement,
    run_keys,
    show,
    structure_schema,
)  # fmt: skip

MAX_BYTES = 2**20
MAX_DEPTH = 32


@dataclass(frozen=True)
class Recipe:
    """A valid recipe.

    Attributes:
        data: the resolved form, every default filled in. Treat it as read-only.
        text: the file, verbatim.
        source: where it was read from, as given.
        folder: paths in the recipe are relative to it.
        overrides: the `--set` texts, in order.
        fingerprint: sha256 (hex) of the resolved form without `name`, `description` and callbacks.
        registry: the components it was validated against.
    """

    data: Mapping[str, Any]
    text: str
    source: str
    folder: Path
    overrides: tuple[str, ...]
    fingerprint: str
    registry: Registry

    @property
    def name(self) -> str:
        """The recipe's name, which is also its run folder's."""
        return self.data["name"]

    def options(self, table: Mapping[str, Any], kind: str, **passed: Any) -> dict[str, Any]:
        """The keyword arguments for the component that `table` names.

        Options of `"format": "path"` become absolute; of `passed` those are added that the component declares.
        """
        component = self.registry.components[kind, table["name"]][0]
        declared = component.options.get("properties", {})
        options = {key: table[key] for key in recipe_options(component)["properties"] if key in table}
        for key, value in options.items():
            if isinstance(value, str) and _is_path(declared[key], value):
                options[key] = str(self.folder / os.path.expanduser(value))  # an unknown ~user stays as it is
        return options | {key: value for key, value in passed.items() if key in declared}


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with kdrecipes, for `kdrecipes run NAME`."""
    return sorted(
        item.name[:-5] for item in resources.files("kdrecipes.recipes").iterdir() if item.name.endswith(".toml")
    )


def load_recipe(path: str | Path, overrides: Iterable[str] = (), *, plugins: Iterable[str | Path] = ()) -> Recipe:
    """Read, validate and resolve a recipe.

    Args:
        path: a `.toml` or `.json` file, or the name of a packaged recipe such as `"digits"`.
        overrides: TOML fragments with dotted keys, e.g. `"train.epochs=1"`; later ones win.
        plugins: single-file plugins (`.py`) to load first.

    Returns:
        The recipe, frozen.

    Raises:
        RecipeError: with every problem found, each naming the place, the rule and what was received.
        EnvironmentProblem: when a plugin that the recipe requires is missing or broken.
    """
    registry = load_registry(tuple(Path(plugin).resolve() for plugin in plugins))
    file, folder, text = _read(str(path))
    data, places = _parse(text, file)
    overridden = _override(data, overrides)
    checker = Checker(data, places, file, registry, overridden)
    _unrepresentable(data, checker)
    problems = checker.check()
    missing = _missing_requirements(data.get("requires"))
    if missing:
        # Components of the missing plugin are unknown for that reason; what is wrong beside them still counts.
        problems = [p for p in problems if "no installed plugin provides" not in p.rule]
    if problems:
        raise RecipeError(problems)
    if missing:
        raise EnvironmentProblem(_requirement_message(checker, missing))
    resolved = resolve(data, registry)
    return Recipe(resolved, text, str(path), folder, tuple(overrides), fingerprint(resolved), registry)


def resolve(recipe: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Fill every default of a valid recipe in; numbers declared "number" become floats."""
    data: dict[str, Any] = copy.deepcopy(dict(recipe))
    data.pop("$schema", None)
    root, train = structure_schema(), data["train"]
    _fill(train, definition("train"), root)  # before the teacher inherits from it
    teacher_train = data.get("teacher", {}).get("train")
    if teacher_train is not None:
        data["teacher"]["train"] = _inherit(train, teacher_train)
    _fill(data, root, root)
    for _, table, kind, value in component_tables(data):
        component = registry.components[kind, value["name"]][0]
        _fill(value, {"properties": run_keys(table)}, root)
        _fill(value, recipe_options(component), component.options)
    for table in (train, data.get("teacher", {}).get("train")):
        for key, group in (("optimizer", "optimizers"), ("schedule", "schedules")):
            if table is not None:
                _fill(table[key], definition(group)[table[key]["name"]], root)
    data.setdefault("loss", {"label_weight": 1.0, "label_smoothing": 0.0})
    compare = data.setdefault("compare", {})
    compare.setdefault("baseline", True)
    compare.setdefault("seeds", [data["seed"]])
    return data


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """sha256 (hex) of what a run's result depends on: the resolved recipe without its name, words and callbacks."""
    counted = {k: v for k, v in resolved.items() if k not in ("name", "description", "callbacks")}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _is_path(schema: Mapping[str, Any], value: str) -> bool:
    """Whether an option's value is a path: `"format": "path"`, or an `anyOf` of words and paths and not a word."""
    branches = schema.get("anyOf", [schema])
    return not any(value in b.get("enum", ()) for b in branches) and any(b.get("format") == "path" for b in branches)


def _inherit(train: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`[teacher.train]` over `[train]`; a table that names the same thing, or nothing, is completed key by key."""
    merged = {**copy.deepcopy(dict(train)), **own}
    for key in ("optimizer", "schedule"):
        if key in own and key in train and own[key].get("name") == train[key].get("name"):
            merged[key] = {**train[key], **own[key]}
    return merged


def _fill(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Add the defaults of `schema` to `value` in place and return it in its resolved form."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    if isinstance(value, dict):
        for key, part in schema.get("properties", {}).items():
            default = _default(part, root)
            if key not in value and default is not None:
                value[key] = copy.deepcopy(default)
            if key in value:
                value[key] = _fill(value[key], part, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        value[:] = [_fill(item, schema["items"], root) for item in value]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        kinds = [schema.get("type"), *(part.get("type") for part in schema.get("anyOf", ()))]
        if "number" in kinds:
            return float(value)
        if "integer" in kinds:
            return int(value)  # draft-07 takes 5.0 for a whole number; a count is written 5
    return value


def _default(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    name = schema.get("$ref", "").removeprefix("#/definitions/")
    return root["definitions"][name].get("default") if name in root.get("definitions", {}) else None


def _read(path: str) -> tuple[str, Path, str]:
    """The display name, folder and text of a recipe file or packaged recipe."""

    def refuse(rule: str, received: str = "", suggestion: str = "") -> RecipeError:
        return RecipeError([Problem(path, 0, 0, "", rule, received, suggestion)])

    file = Path(path)
    names = packaged_recipes()
    if path in names or (not file.suffix and not os.path.lexists(path) and file.name == path):
        if path not in names:
            near = nearest(path, names)
            choices = "" if near else f" (packaged: {', '.join(names)})"
            rule = f"is neither a file nor a packaged recipe{choices}"
            raise refuse(rule, show(path), show(near) if near else "")
        item = resources.files("kdrecipes.recipes") / f"{path}.toml"
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


def _parse(text: str, file: str) -> tuple[dict[str, Any], Positions]:
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


def _unrepresentable(data: Mapping[str, Any], checker: Checker) -> None:
    """Report what JSON has no word for: NaN, infinities, dates, whole numbers over 64 bits, half characters."""

    def text(value: str, path: KeyPath) -> None:
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            checker.report(path, "must be text: a surrogate stands alone in it", show(value))

    def walk(value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                text(key, (*path, key))
                walk(part, (*path, key))
        elif isinstance(value, list):
            for index, part in enumerate(value):
                walk(part, (*path, index))
        elif isinstance(value, str):
            text(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            checker.report(path, "must be a finite number", str(value))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            checker.report(path, "must fit into 64 bits", show(value))
        elif not isinstance(value, int | float | None):
            rule = "must be a string, number, boolean, array or table; text stands in double quotes"
            checker.report(path, rule, str(value))

    walk(data, ())


def _override(data: dict[str, Any], overrides: Iterable[str]) -> dict[KeyPath, str]:
    """Merge `--set` fragments into `data`; returns which text set which path.

    `train.epochs=1` sets one key and leaves its neighbours; `train={epochs=1}` replaces the whole table.
    """
    origin: dict[KeyPath, str] = {}
    for text in overrides:
        path, value = _fragment(text)
        target = data
        for depth, part in enumerate(path[:-1], 1):
            if not isinstance(target.get(part), dict):
                target[part] = {}
                origin[path[:depth]] = text
            target = target[part]
        target[path[-1]] = value
        for old in [old for old in origin if old[: len(path)] == path]:
            del origin[old]
        origin[path] = text
    return origin


def _fragment(text: str) -> tuple[tuple[str, ...], Any]:
    """The path and value of one `--set key=value`."""
    rule = "is not TOML; write key=value, with strings in double quotes: --set 'student.name=\"cnn\"'"
    refusal = RecipeError([Problem(f"--set {printable(text)}", 0, 0, "", rule)])
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


def _missing_requirements(requires: Any) -> list[tuple[int, str, str]]:
    """The required distributions that are absent or of another version: (index, requirement, installed version)."""
    missing = []
    for index, text in enumerate(requires if isinstance(requires, list) else []):
        requirement = parse_requirement(text)
        if requirement is None:
            continue  # a problem of the recipe, already reported
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append((index, text, ""))
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            missing.append((index, text, installed))
    return missing


def _requirement_message(checker: Checker, missing: list[tuple[int, str, str]]) -> str:
    found = "; ".join(f"{text} ({f'{old} is installed' if old else 'not installed'})" for _, text, old in missing)
    install = " ".join(f"'{text}'" if set(text) & set("<>=~! []") else text for _, text, _ in missing)
    where = checker.place(("requires", missing[0][0]))
    rule = f"the recipe needs {found}. Install with:  pip install {install}"
    return f"{where}  requires  {rule}"
