"""From what a sweep changes to its points: each a recipe of its own, all of them validated before one is trained."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple, TypeVar

from kdrecipes.errors import Code, EnvironmentProblem, Problem, RecipeError
from kdrecipes.hashing import digest
from kdrecipes.recipe.extends import Place
from kdrecipes.recipe.load import Draft, recipe_of
from kdrecipes.recipe.overrides import dotted
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.structure import structure_schema
from kdrecipes.recipe.tables import Recipe
from kdrecipes.recipe.toml_writer import toml_value
from kdrecipes.wording import printable

T = TypeVar("T")
# What a point can't change, and why.
_FIXED = {
    "compare.seeds": "is not swept: the seeds of all points stand in sweep.seeds, or in --seeds",
    "extends": "can't be swept: write a recipe file for each",
    "sweep": "can't be swept: a point has no points",
}
# Keys of a recipe that are not offered to a sweep: what names it or tells of its form.
_OF_THE_FILE = {"$schema", "schema_version", "extends", "name", "description", "requires", "sweep"}
EVERY = 5.0  # seconds between two lines that tell how many points are checked
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


def points_of(
    draft: Draft,
    candidates: Sequence[Sequence[Change]],
    seeds: Sequence[int],
    note: Callable[[str], None] = lambda text: None,
) -> list[SweepPoint]:
    """The points; one that is equal to an earlier one is left out.

    Args:
        draft: of the recipe that they change.
        candidates: what each changes.
        seeds: of every point.
        note: takes a line every few seconds, of how many are checked; and one of those that are left out.

    Raises:
        RecipeError: with all problems of all points, each in its place; of values that several points share once.
        EnvironmentProblem: when a plugin that a point requires is missing or broken.
    """
    points: dict[str, SweepPoint] = {}
    collected = _Collected()
    for number, changes in enumerate(counted(candidates, note)):
        name = f"{len(points):03}"
        try:
            recipe = changed(draft, changes, seeds)
            points.setdefault(recipe.fingerprint, SweepPoint(name, {one.key: one.value for one in changes}, recipe))
        except RecipeError as error:
            for problem in error.problems:
                collected.add(f"{number:03}", *_placed(problem, changes))
        except EnvironmentProblem as error:
            collected.needs = collected.needs or error
    if collected.found:
        raise RecipeError(collected.problems(len(candidates)))
    if collected.needs:
        raise collected.needs
    if equal := len(candidates) - len(points):
        words = "1 point is equal to an earlier one" if equal == 1 else f"{equal:,} points are equal to earlier ones"
        note(f"{words}, and equal points count once")
    return list(points.values())


def counted(candidates: Sequence[T], note: Callable[[str], None]) -> Iterator[T]:
    """The same one by one; every few seconds `note` takes a line of how many are through."""
    told = time.monotonic()
    for number, candidate in enumerate(candidates):
        if time.monotonic() - told > EVERY:
            note(f"{number:,} of {len(candidates):,} points are checked")
            told = time.monotonic()
        yield candidate


def combinations(grid: Sequence[Sequence[Change]]) -> list[tuple[Change, ...]]:
    """Every combination of the values of each key, the last key's changing fastest."""
    return list(product(*grid))


def changed(draft: Draft, changes: Sequence[Change], seeds: Sequence[int]) -> Recipe:
    """The recipe of one point.

    Raises:
        RecipeError, EnvironmentProblem: as `load_recipe`.
    """
    data = copy.deepcopy({key: part for key, part in draft.data.items() if key != "sweep"})
    places, overridden = dict(draft.places), dict(draft.overridden)
    data["compare"] = {**(data.get("compare") or {}), "seeds": list(seeds)}
    texts, fixed = [], []
    for change in changes:
        path = dotted(change.key)
        assert path is not None  # whoever made the change has looked
        if why := _FIXED.get(change.key) or _FIXED.get(str(path[0])):
            fixed.append(_problem(path, why, change.key_at, "misplaced-key"))
            continue
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
    made = draft._replace(data=data, places=places, overridden=overridden, overrides=(*draft.overrides, *texts))
    try:
        recipe = recipe_of(made)
    except RecipeError as error:
        raise RecipeError([*fixed, *error.problems]) from None
    if fixed:
        raise RecipeError(fixed)
    return recipe


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
            rule = _known_to_a_sweep() if problem.rule.startswith(_NONE_NEAR) and len(path) == 1 else problem.rule
            at = _problem(path, rule, change.key_at, problem.code)
            return problem, replace(at, path=problem.path, received=problem.received, suggestion=problem.suggestion)
    return problem, None


_NONE_NEAR = "unknown key (known: "


def _known_to_a_sweep() -> str:
    """What to say of a key that is like none of a recipe's."""
    return f"{_NONE_NEAR}{', '.join(sorted({*structure_schema()['properties']} - _OF_THE_FILE))})"


def sweep_digest(recipe: Recipe, kind: str, seeds: Sequence[int], what: Sequence[Any]) -> str:
    """sha256 (hex) that tells one sweep from another; `what`: the points' fingerprints, or a search's space."""
    return digest(recipe.fingerprint, kind, list(seeds), list(what))
