"""`load_recipe`: file → overrides → validation → `Recipe`, frozen and fingerprinted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdrecipes.components.registry import Registry, load_registry
from kdrecipes.distributions import installed_version
from kdrecipes.errors import EnvironmentProblem, Problem, RecipeError
from kdrecipes.recipe.builders import uncallable, without_labels
from kdrecipes.recipe.checker import Checker
from kdrecipes.recipe.extends import Places, origins, read_merged, rebase
from kdrecipes.recipe.make import make_recipe
from kdrecipes.recipe.messages import Message, unrepresentable
from kdrecipes.recipe.overrides import override
from kdrecipes.recipe.path_options import is_path
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.resolve import fingerprint, resolve
from kdrecipes.recipe.structure import component_tables, parse_requirement
from kdrecipes.recipe.tables import Recipe
from kdrecipes.recipe.written_secrets import secrets_beside_values
from kdrecipes.wording import MOST_LISTED, normal_name


class Draft(NamedTuple):
    """A recipe that is read and not checked: what it says, and where each key of it is written.

    `overridden`: which text of `overrides` wrote which path.
    """

    source: str
    file: str
    folder: Path
    text: str
    data: dict[str, Any]
    places: Places
    overrides: tuple[str, ...]
    overridden: dict[KeyPath, str]
    registry: Registry


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
    return recipe_of(read_draft(path, overrides, plugins=plugins))


def read_draft(path: str | Path, overrides: Iterable[str] = (), *, plugins: Iterable[str | Path] = ()) -> Draft:
    """Read a recipe and what it extends; the arguments are those of `load_recipe`.

    Raises:
        RecipeError: when a file can't be read, or an override is none.
    """
    registry = load_registry(tuple(Path(plugin).resolve() for plugin in plugins))
    file, folder, text, data, places = read_merged(str(path))
    overrides = tuple(overrides)
    overridden = override(data, overrides)
    for key in [k for k in places if any(k[:depth] in overridden for depth in range(len(k) + 1))]:
        del places[key]  # what a command wrote stands in no file
    if "extends" in data:  # what the file extends is merged; a command can't do that
        rule = "can't be set by a command: write it into a recipe file"
        command = f"--set {overridden[('extends',)]}"
        raise RecipeError([Problem(command, 0, 0, "extends", rule, code="misplaced-key")])
    return Draft(str(path), file, folder, text, data, places, overrides, overridden, registry)


def recipe_of(draft: Draft, written: Mapping[KeyPath, str] | None = None) -> Recipe:
    """The recipe that a draft says, validated and resolved; paths in `draft.data` are put right.

    Args:
        draft: what was read.
        written: where each key came from, where the draft's places do not tell.

    Raises:
        RecipeError, EnvironmentProblem: as `load_recipe`.
    """
    data, registry = draft.data, draft.registry
    checker = Checker(data, draft.places, draft.file, registry, draft.overridden)
    _validate(checker, draft)
    _rebase_paths(data, draft.places, draft.folder, registry)
    written = origins(data, draft.places, draft.overridden) if written is None else written
    resolved = resolve(data, registry)
    recipe = make_recipe(
        resolved,
        registry,
        text=draft.text,
        source=draft.source,
        folder=draft.folder,
        overrides=draft.overrides,
        fingerprint=fingerprint(resolved),
        origins=written,
    )
    _ask_builders(recipe, checker)
    return recipe


def _validate(checker: Checker, draft: Draft) -> None:
    """Raise what is wrong with a recipe, or with what it needs."""
    _report_unrepresentable(checker.data, checker)
    problems, requires = checker.check(), checker.data.get("requires")
    needs = _missing_requirements(requires) or _broken_requirements(requires, checker.registry)
    if needs:
        # Components of the missing plugin are unknown for that reason; what is wrong beside them still counts.
        problems = [problem for problem in problems if problem.code != "unknown-component"]
    if not any(problem.code == "holds-secret" for problem in problems):  # else these lines would be told twice
        problems += secrets_beside_values(draft.file, draft.text if draft.places else "", draft.overrides)
    if problems:
        raise RecipeError(problems)
    if needs:
        index, message = needs[0]
        problem = checker.problem(("requires", index), message)
        raise EnvironmentProblem(str(problem), [problem])


def _ask_builders(recipe: Recipe, checker: Checker) -> None:
    """Raise what the builders of a valid recipe's components tell before anything is built."""
    if broken := [checker.problem(*found) for found in uncallable(recipe)]:
        raise EnvironmentProblem("\n".join(map(str, broken)), broken)
    if problems := [checker.problem(*found) for found in without_labels(recipe)]:
        raise RecipeError(problems)


def _rebase_paths(data: dict[str, Any], places: Places, folder: Path, registry: Registry) -> None:
    """Paths that a parent in another folder wrote, made relative to the recipe's own."""
    for path, _, kind, table in component_tables(data):
        declared = registry.components[kind, table["name"]][0].options.get("properties", {})
        for key, value in table.items():
            named = isinstance(value, str) and key in declared and is_path(declared[key], value)
            if named and (*path, key) in places:
                table[key] = rebase(value, places[(*path, key)], folder)


def _report_unrepresentable(data: Mapping[str, Any], checker: Checker) -> None:
    """Report what TOML or JSON has no word for."""

    def walk(value: Any, path: KeyPath) -> None:
        if message := unrepresentable(value):
            checker.report(path, message)
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            if message := unrepresentable(key):
                checker.report((*path, key), message)
            walk(part, (*path, key))

    walk(data, ())


def _missing_requirements(requires: Any) -> list[tuple[int, Message]]:
    """What to say, once, of the required distributions that are absent or of another version, and the first's index."""
    missing = []
    for index, text in enumerate(requires if isinstance(requires, list) else []):
        requirement = parse_requirement(text)
        if requirement is None:
            continue  # a problem of the recipe, already reported
        installed = installed_version(requirement.name)
        if not installed:
            missing.append((index, text, "not installed" if installed is None else "its installation is broken"))
        elif not requirement.specifier.contains(installed, prereleases=True):
            missing.append((index, text, f"{installed} is installed"))
    if not missing:
        return []
    more = f" and {len(missing) - MOST_LISTED:,} more" if len(missing) > MOST_LISTED else ""
    found = "; ".join(f"{text} ({what})" for _, text, what in missing[:MOST_LISTED]) + more
    install = " ".join(f"'{text}'" if set(text) & set("<>=~! []") else text for _, text, _ in missing[:MOST_LISTED])
    rule = f"the recipe needs {found}; install with `pip install {install}`"
    return [(missing[0][0], Message("missing-requirement", rule))]


def _broken_requirements(requires: Any, registry: Registry) -> list[tuple[int, Message]]:
    """What to say of the required distributions whose plugins are not loaded, each with its index."""
    why = {normal_name(p.provider.distribution): p.why_not_loaded for p in registry.not_loaded}
    found = []
    for index, text in enumerate(requires if isinstance(requires, list) else []):
        requirement = parse_requirement(text)
        name = normal_name(requirement.name) if requirement else ""
        if name in why:
            found.append((index, Message("broken-requirement", f"the recipe needs {text}, which {why[name]}")))
    return found
