"""Recipes: file → overrides → validation → `Recipe`, frozen and fingerprinted. Imports neither torch nor keras."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from kdrecipes.errors import EnvironmentProblem, Problem, RecipeError
from kdrecipes.positions import Path as KeyPath
from kdrecipes.positions import Positions, positions, show_path
from kdrecipes.registry import Registry, load_registry, nearest, recipe_options
from kdrecipes.validation import Checker, component_tables, definition, run_keys, show, structure_schema

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
                options[key] = str(self.folder / Path(value).expanduser())
        return options | {key: value for key, value in passed.items() if key in declared}


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with kdrecipes, for `kdrecipes run NAME`."""
    return sorted(item.name[:-5] for item in resources.files("kdrecipes.recipes").iterdir() if item.name.endswith(".toml"))


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
    problems = _unrepresentable(data, checker) or checker.check()
    missing = _missing_requirements(data.get("requires"))
    if missing:
        # Components of the missing plugin are unknown for that reason; what is wrong beside them still counts.
        problems = [p for p in problems if "no installed plugin provides" not in p.rule]
    if problems:
        raise RecipeError(problems)
    if missing:
        raise EnvironmentProblem(_requirement_message(file, missing))
    resolved = resolve(data, registry)
    return Recipe(resolved, text, str(path), folder, tuple(overrides), fingerprint(resolved), registry)


def resolve(data: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Fill every default of a valid recipe in; numbers declared "number" become floats."""
    data = copy.deepcopy(dict(data))
    data.pop("$schema", None)
    train = data["train"]
    teacher_train = data.get("teacher", {}).get("train")
    if teacher_train is not None:
        data["teacher"]["train"] = _inherit(train, teacher_train)
    root = structure_schema()
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
    """Whether an option's value is a path: `"format": "path"`, or an `anyOf` of words and paths and none of the words."""
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
    file = Path(path)
    if not file.suffix and not file.exists() and file.name == path:
        names = packaged_recipes()
        if path not in names:
            near = nearest(path, names)
            hint = f"did you mean {near!r}?" if near else f"packaged recipes: {', '.join(names)}"
            raise RecipeError([Problem(path, 0, 0, "", "is neither a file nor a packaged recipe", repr(path), near or "")
                               if near else Problem(path, 0, 0, "", f"is neither a file nor a packaged recipe ({hint})")])  # fmt: skip
        item = resources.files("kdrecipes.recipes") / f"{path}.toml"
        with resources.as_file(item) as real:
            return f"{path}.toml", Path(real).parent, item.read_text(encoding="utf-8")

    def refuse(rule: str) -> RecipeError:
        return RecipeError([Problem(path, 0, 0, "", rule)])

    if file.suffix not in (".toml", ".json"):
        raise refuse("a recipe is a .toml or .json file" if file.exists() else "no such file")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise refuse(f"a recipe has at most {MAX_BYTES:,} bytes; this file has {file.stat().st_size:,}")
        return path, file.parent.resolve(), file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = nearest(file.name, [p.name for p in file.parent.glob("*")]) if file.parent.is_dir() else ""
        raise refuse("no such file" + (f"; did you mean {str(file.with_name(near))!r}?" if near else "")) from None
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise refuse(f"can't be read: {error.strerror}") from None


def _parse(text: str, file: str) -> tuple[dict[str, Any], Positions]:
    is_json = file.endswith(".json")

    def refuse(line: int, column: int, rule: str) -> RecipeError:
        return RecipeError([Problem(file, line, column, "", rule)])

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in items:
            if key in table:
                raise refuse(1, 1, f"the key {show(key)} stands twice in one object")
            table[key] = value
        return table

    # Nesting is bounded before anything recursive reads the text.
    if _bracket_depth(text) > MAX_DEPTH:
        raise refuse(1, 1, f"must not be nested deeper than {MAX_DEPTH} levels")
    try:
        data = json.loads(text, object_pairs_hook=pairs) if is_json else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise refuse(error.lineno, error.colno, f"is not JSON: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        line, column, message = _toml_error_place(str(error), text)
        raise refuse(line, column, f"is not TOML: {message}") from None
    if not isinstance(data, dict):
        raise refuse(1, 1, "a recipe is one JSON object")
    return data, positions(text, json=is_json)


def _toml_error_place(message: str, text: str) -> tuple[int, int, str]:
    """tomllib ends its messages with "(at line L, column C)" or "(at end of document)"."""
    what, _, place = message.rpartition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    if words[:1] == ["line"]:
        return int(words[1]), int(words[3]), what
    return text.count("\n") + 1, 1, what or message


def _bracket_depth(text: str) -> int:
    """An upper bound of the nesting; brackets in strings count too, which no honest recipe has by the dozen."""
    depth = deepest = 0
    for char in text:
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth = max(0, depth - 1)
    dotted = max((line.partition("=")[0].count(".") for line in text.splitlines()), default=0)
    return max(deepest, dotted)


def _unrepresentable(data: Mapping[str, Any], checker: Checker) -> list[Problem]:
    """Values that JSON has no word for: NaN, infinities, dates."""

    def walk(value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                walk(part, (*path, key))
        elif isinstance(value, list):
            for index, part in enumerate(value):
                walk(part, (*path, index))
        elif isinstance(value, float) and not math.isfinite(value):
            checker.report(path, "must be a finite number", str(value))
        elif not isinstance(value, str | int | float | bool | None):
            checker.report(path, "must be a string, number, boolean, array or table", str(value))

    walk(data, ())
    return checker.problems


def _override(data: dict[str, Any], overrides: Iterable[str]) -> dict[KeyPath, str]:
    """Merge `--set` fragments into `data`; returns which text set which path."""
    origin: dict[KeyPath, str] = {}

    def merge(target: dict[str, Any], new: dict[str, Any], path: KeyPath, text: str) -> None:
        for key, value in new.items():
            if isinstance(value, dict) and isinstance(target.get(key), dict) and not _inline(text, (*path, key)):
                merge(target[key], value, (*path, key), text)
            else:
                target[key] = value
                _mark(value, (*path, key), text)

    def _mark(value: Any, path: KeyPath, text: str) -> None:
        if isinstance(value, dict) and value and not _inline(text, path):
            for key, part in value.items():
                _mark(part, (*path, key), text)
        else:
            origin[path] = text

    for text in overrides:
        try:
            merge(data, tomllib.loads(text), (), text)
        except tomllib.TOMLDecodeError:
            rule = "is not TOML; write key=value, with strings in double quotes: --set 'student.name=\"cnn\"'"
            raise RecipeError([Problem(f"--set {text}", 0, 0, "", rule)]) from None
    return origin


def _inline(text: str, path: KeyPath) -> bool:
    """Whether the fragment gives `path` itself a value (an inline table), and not something inside it."""
    key = text.partition("=")[0].replace(" ", "").replace('"', "")
    return key == show_path(path).replace('"', "")


def _missing_requirements(requires: Any) -> list[tuple[str, str]]:
    """The required distributions that are absent or of another version: (requirement, installed version or "")."""
    if not isinstance(requires, list):
        return []
    from packaging.requirements import InvalidRequirement, Requirement

    missing = []
    for text in requires:
        try:
            requirement = Requirement(text)
        except (InvalidRequirement, TypeError):
            missing.append((str(text), "invalid"))
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append((text, ""))
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            missing.append((text, installed))
    return missing


def _requirement_message(file: str, missing: list[tuple[str, str]]) -> str:
    invalid = [text for text, installed in missing if installed == "invalid"]
    if invalid:
        raise RecipeError([Problem(file, 0, 0, "requires", 'must be a distribution such as "kdrecipes-x>=1"', show(t))
                           for t in invalid])  # fmt: skip
    found = "; ".join(f"{text} ({f'{old} is installed' if old else 'not installed'})" for text, old in missing)
    line = " ".join(f"'{text}'" if set(text) & set("<>=~! ") else text for text, _ in missing)
    return f"{file}  requires: {found}. Install with:  pip install {line}"
