"""Recipes: file → overrides → validation → `Recipe`, frozen and fingerprinted. Imports neither torch nor keras."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os.path
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.registry import Registry, load_registry
from kdrecipes.errors import EnvironmentProblem, Problem, RecipeError
from kdrecipes.inheritance import Places, origins, read_merged, rebase
from kdrecipes.positions import Path as KeyPath
from kdrecipes.reading import override
from kdrecipes.structure import (
    component_tables,
    definition,
    followed,
    parse_requirement,
    run_keys,
    show,
    structure_schema,
)
from kdrecipes.validation import Checker
from kdrecipes.wording import normal_name


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
        origins: where each key that is written came from, `base.toml:7` or `--set train.epochs=1`; what is not in it
            is a default.
    """

    data: Mapping[str, Any]
    text: str
    source: str
    folder: Path
    overrides: tuple[str, ...]
    fingerprint: str
    registry: Registry = field(repr=False)
    origins: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)

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


def load_recipe(path: str | Path, overrides: Iterable[str] = (), *, plugins: Iterable[str | Path] = ()) -> Recipe:
    """Read a recipe and what it extends, validate and resolve it.

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
    file, folder, text, data, places = read_merged(str(path))
    overridden = override(data, overrides)
    for key in [k for k in places if any(k[:depth] in overridden for depth in range(len(k) + 1))]:
        del places[key]  # what a command wrote stands in no file
    if "extends" in data:  # what the file extends is merged; a command can't do that
        rule = "can't be set by a command: write it into a recipe file"
        raise RecipeError([Problem(f"--set {overridden[('extends',)]}", 0, 0, "extends", rule)])
    checker = Checker(data, places, file, registry, overridden)
    _unrepresentable(data, checker)
    problems = checker.check()
    missing = _missing_requirements(data.get("requires"))
    broken = _broken_requirements(data.get("requires"), registry)
    if missing or broken:
        # Components of the missing plugin are unknown for that reason; what is wrong beside them still counts.
        problems = [p for p in problems if "no installed plugin provides" not in p.rule]
    if problems:
        raise RecipeError(problems)
    for index, rule in [(missing[0][0], _requirement_rule(missing))] if missing else broken[:1]:
        problem = checker.problem(("requires", index), rule)
        raise EnvironmentProblem(str(problem), [problem])
    _rebase_paths(data, places, folder, registry)
    written = origins(data, places, overridden)
    resolved = resolve(data, registry)
    return Recipe(resolved, text, str(path), folder, tuple(overrides), fingerprint(resolved), registry, written)


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
    if any(value in b.get("enum", ()) or ("pattern" in b and re.search(b["pattern"], value)) for b in branches):
        return False
    return any(b.get("format") == "path" for b in branches)


def _rebase_paths(data: dict[str, Any], places: Places, folder: Path, registry: Registry) -> None:
    """Paths that a parent in another folder wrote, made relative to the recipe's own."""
    for path, _, kind, table in component_tables(data):
        declared = registry.components[kind, table["name"]][0].options.get("properties", {})
        for key, value in table.items():
            is_path = isinstance(value, str) and key in declared and _is_path(declared[key], value)
            if is_path and (*path, key) in places:
                table[key] = rebase(value, places[(*path, key)], folder)


def _inherit(train: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`[teacher.train]` over `[train]`; a table that names the same thing is completed key by key."""
    merged = {**copy.deepcopy(dict(train)), **own}
    for key in ("optimizer", "schedule"):
        if key in own and key in train and own[key].get("name") == train[key].get("name"):
            merged[key] = {**train[key], **own[key]}
    return merged


def _fill(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Add the defaults of `schema` to `value` in place and return it in its resolved form."""
    schema = followed(schema, root)
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


def _unrepresentable(data: Mapping[str, Any], checker: Checker) -> None:
    """Report what TOML or JSON has no word for: null, NaN, infinities, dates, numbers over 64 bits, half characters."""

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
        elif value is None:  # JSON's alone: the two forms of a recipe say the same
            checker.report(path, "must not be null: leave the key out", "null")
        elif isinstance(value, float) and not math.isfinite(value):
            checker.report(path, "must be a finite number", str(value))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            checker.report(path, "must fit into 64 bits", show(value))
        elif not isinstance(value, int | float):
            rule = "must be a string, number, boolean, array or table; text stands in double quotes"
            checker.report(path, rule, str(value))

    walk(data, ())


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


def _broken_requirements(requires: Any, registry: Registry) -> list[tuple[int, str]]:
    """The required distributions whose plugins are not loaded: (index, what to say)."""
    why = {normal_name(p.provider.distribution): p.why_not_loaded for p in registry.not_loaded}
    found = []
    for index, text in enumerate(requires if isinstance(requires, list) else []):
        requirement = parse_requirement(text)
        name = normal_name(requirement.name) if requirement else ""
        if name in why:
            found.append((index, f"the recipe needs {text}, which {why[name]}"))
    return found


def _requirement_rule(missing: list[tuple[int, str, str]]) -> str:
    found = "; ".join(f"{text} ({f'{old} is installed' if old else 'not installed'})" for _, text, old in missing)
    install = " ".join(f"'{text}'" if set(text) & set("<>=~! []") else text for _, text, _ in missing)
    return f"the recipe needs {found}; install with `pip install {install}`"
