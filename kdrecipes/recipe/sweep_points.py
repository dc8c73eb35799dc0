"""From what a sweep changes to its points: each a recipe of its own, all of them validated before one is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

from kdrecipes.errors import Code, EnvironmentProblem, Problem, RecipeError
from kdrecipes.hashing import digest
from kdrecipes.recipe.extends import Place
from kdrecipes.recipe.load import Draft, recipe_of
from kdrecipes.recipe.overrides import dotted
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.tables import Recipe
from kdrecipes.recipe.toml_writer import toml_value
from kdrecipes.wording import printable

# What a point can't change, and why.
_FIXED = {
    "compare.seeds": "is not swept: the seeds of all points stand in sweep.seeds, or in --seeds",
    "extends": "can't be swept: write a recipe file for each",
    "sweep": "can't be swept: a point has no points",
}
_KEY_CODES = ("unknown-key", "misplaced-key")  # of the key alone, whatever its value


class Change(NamedTuple):
    """One key and what it becomes.

    Attributes:
        key: dotted, as written.
        value: JSON-able.
        at: where the key and its value are written: the place of each, by the path inside; or the command's option.
    """

    key: str
    value: Any
    at: Mapping[Path, Place] | str
    key_at: Place | str


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """A point: its name ("000"), what it changes by dotted key, and its recipe."""

    name: str
    changes: Mapping[str, Any]
    recipe: Recipe

    @property
    def label(self) -> str:
        """The changes in words: `loss.temperature=1, loss.weight=0.3`."""
        return label_of(self.changes)


def label_of(changes: Mapping[str, Any]) -> str:
    """Changes in words, on one line."""
    words = ", ".join(f"{key}={toml_value(value)}" for key, value in changes.items())
    return printable(words) or "the recipe as it is"


@dataclass
class _Collected:
    """Problems of many points, each told once with how many points it is in."""

    found: dict[tuple[Any, ...], tuple[Problem, list[str]]] = field(default_factory=dict)
    needs: EnvironmentProblem | None = None

    def add(self, name: str, problem: Problem, key_at: Problem | None) -> None:
        told = key_at or problem
        key = (told.file, told.line, told.column, told.path, told.rule, told.code)
        self.found.setdefault(key, (told, []))[1].append(name)

    def problems(self, points: int) -> list[Problem]:
        """In the order of files and lines; what is in every point needs no point's name."""
        texts = []
        for problem, names in self.found.values():
            more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
            where = "" if len(names) == points else f"in point {names[0]}{more}: "
            texts.append(replace(problem, rule=where + problem.rule))
        return sorted(texts, key=lambda one: (not one.line, one.file, one.line, one.column))


def points_of(draft: Draft, candidates: Iterable[Sequence[Change]], seeds: Sequence[int]) -> list[SweepPoint]:
    """The points; one that is equal to an earlier one is left out.

    Args:
        draft: of the recipe that they change.
        candidates: what each changes.
        seeds: of every point.

    Raises:
        RecipeError: with all problems of all points, each in its place; of values that several points share once.
        EnvironmentProblem: when a plugin that a point requires is missing or broken.
    """
    points: dict[str, SweepPoint] = {}
    collected, count = _Collected(), 0
    for count, changes in enumerate(candidates, 1):
        name = f"{len(points):03}"
        try:
            recipe = changed(draft, changes, seeds)
            points.setdefault(recipe.fingerprint, SweepPoint(name, {one.key: one.value for one in changes}, recipe))
        except RecipeError as error:
            for problem in error.problems:
                collected.add(f"{count - 1:03}", *_placed(problem, changes))
        except EnvironmentProblem as error:
            collected.needs = collected.needs or error
    if collected.found:
        raise RecipeError(collected.problems(count))
    if collected.needs:
        raise collected.needs
    return list(points.values())


def combinations(grid: Sequence[Sequence[Change]]) -> Iterable[tuple[Change, ...]]:
    """Every combination of the values of each key, the last key's changing fastest."""
    return product(*grid)


def changed(draft: Draft, changes: Sequence[Change], seeds: Sequence[int]) -> Recipe:
    """The recipe of one point.

    Raises:
        RecipeError, EnvironmentProblem: as `load_recipe`.
    """
    data, places, overridden = copy.deepcopy(draft.data), dict(draft.places), dict(draft.overridden)
    data.pop("sweep", None)
    data["compare"] = {**(data.get("compare") or {}), "seeds": list(seeds)}
    texts = []
    for change in changes:
        path = dotted(change.key)
        assert path is not None  # whoever made the change has looked
        if why := _FIXED.get(change.key) or _FIXED.get(str(path[0])):
            raise RecipeError([_problem(path, why, change.key_at, "misplaced-key")])
        _put(data, path, change)
        for gone in [key for key in places if key[: len(path)] == path]:
            del places[gone]
        for gone in [key for key in overridden if key[: len(path)] == path]:
            del overridden[gone]
        text = f"{change.key}={toml_value(change.value)}"
        texts.append(text)
        if isinstance(change.at, str):
            overridden[path] = text
        else:
            places |= {(*path, *inside): place for inside, place in change.at.items()}
            for depth in range(1, len(path)):
                places.setdefault(path[:depth], change.at[()])
    return recipe_of(
        draft._replace(data=data, places=places, overridden=overridden, overrides=(*draft.overrides, *texts))
    )


def _put(data: dict[str, Any], path: Path, change: Change) -> None:
    """Set one key; the tables above it are made where they are missing."""
    target: Any = data
    for depth, part in enumerate(path[:-1], 1):
        if isinstance(target.get(part), list):
            rule = f"is an array here: sweep {show_path(path[:depth])} as a whole"
            raise RecipeError([_problem(path[:depth], rule, change.key_at, "misplaced-key")])
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[path[-1]] = copy.deepcopy(change.value)


def _problem(path: Path, rule: str, at: Place | str, code: Code) -> Problem:
    if isinstance(at, str):
        return Problem(printable(at), 0, 0, show_path(path), rule, code=code)
    return Problem(at.file, at.line, at.column, show_path(path), rule, code=code)


def _placed(problem: Problem, changes: Sequence[Change]) -> tuple[Problem, Problem | None]:
    """A problem with the command's option in place of `--set`; and where it is about a swept key, that in its place."""
    for change in changes:
        path = dotted(change.key) or ()
        if problem.file == printable(f"--set {change.key}={toml_value(change.value)}"):
            problem = replace(problem, file=printable(str(change.at)))
        about_key = problem.path in {show_path(path[:depth]) for depth in range(1, len(path) + 1)}
        if about_key and problem.code in _KEY_CODES:
            at = _problem(path, problem.rule, change.key_at, problem.code)
            return problem, replace(at, path=problem.path, received=problem.received, suggestion=problem.suggestion)
    return problem, None


def sweep_digest(recipe: Recipe, kind: str, seeds: Sequence[int], what: Sequence[Any]) -> str:
    """sha256 (hex) that tells one sweep from another; `what`: the points' fingerprints, or a search's space."""
    return digest(recipe.fingerprint, kind, list(seeds), list(what))
