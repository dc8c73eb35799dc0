"""`load_recipe`: file → overrides → validation → `Recipe`, frozen and fingerprinted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kdrecipes.components.registry import Registry, load_registry
from kdrecipes.errors import EnvironmentProblem, Problem, RecipeError
from kdrecipes.recipe.checker import Checker
from kdrecipes.recipe.extends import Places, origins, read_merged, rebase
from kdrecipes.recipe.make import make_recipe
from kdrecipes.recipe.overrides import override
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.resolve import fingerprint, resolve
from kdrecipes.recipe.structure import (
    component_tables,
    parse_requirement,
    show,
)
from kdrecipes.recipe.tables import Recipe, is_path
from kdrecipes.wording import normal_name


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
    return make_recipe(
        resolved,
        registry,
        text=text,
        source=str(path),
        folder=folder,
        overrides=tuple(overrides),
        fingerprint=fingerprint(resolved),
        origins=written,
    )


def _rebase_paths(data: dict[str, Any], places: Places, folder: Path, registry: Registry) -> None:
    """Paths that a parent in another folder wrote, made relative to the recipe's own."""
    for path, _, kind, table in component_tables(data):
        declared = registry.components[kind, table["name"]][0].options.get("properties", {})
        for key, value in table.items():
            named = isinstance(value, str) and key in declared and is_path(declared[key], value)
            if named and (*path, key) in places:
                table[key] = rebase(value, places[(*path, key)], folder)


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
