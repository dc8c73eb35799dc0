"""`load_sweep`: a recipe and what a command asks of it → a sweep: points, or a space to search for points."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kdrecipes.errors import EnvironmentProblem, Problem, RecipeError, UsageError
from kdrecipes.recipe.load import Draft, read_draft, recipe_of
from kdrecipes.recipe.overrides import dotted
from kdrecipes.recipe.source import MOST_POINTS
from kdrecipes.recipe.sweep_points import Change, SweepPoint, changed, combinations, points_of, sweep_digest
from kdrecipes.recipe.sweep_text import Span, grid_option
from kdrecipes.recipe.sweep_written import Written, points_in_array, points_in_file, refuse_no_key, values_listed
from kdrecipes.recipe.tables import Recipe

NOTHING_SWEPT = (
    "{}: nothing is swept. Write [sweep] into the recipe, or name values: --grid loss.temperature=1,2,4. "
    "--points FILE names whole points."
)


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is swept.

    Attributes:
        recipe: that the points change, without their changes.
        kind: "grid", "points" or "search".
        swept: the keys that differ, dotted, in their order.
        seeds: of every point.
        points: in order; empty for a search, which draws them.
        digest: sha256 (hex) that tells one sweep from another.
        draft: of the recipe, which points are made from.
        written: what it was asked to try.
        space: of a search, what each key may be.
        trials: of a search, how many points.
    """

    recipe: Recipe
    kind: Literal["grid", "points", "search"]
    swept: list[str]
    seeds: tuple[int, ...]
    points: list[SweepPoint]
    digest: str
    draft: Draft = field(repr=False)
    written: Written = field(repr=False)
    space: Mapping[str, Sequence[Change] | Span] = field(default_factory=dict)
    trials: int = 0

    def changed(self, changes: Mapping[str, Any], seeds: Sequence[int] | None = None) -> Recipe:
        """The recipe of a point that makes these changes; `seeds`: others than those of the points.

        Raises:
            RecipeError: when they do not go together.
        """
        made = [Change(key, value, f"--grid {key}={value}", f"--grid {key}={value}") for key, value in changes.items()]
        return changed(self.draft, made, self.seeds if seeds is None else seeds)


def load_sweep(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    plugins: Iterable[str | Path] = (),
    grid: Sequence[str] = (),
    points: str | Path | None = None,
    search: int | None = None,
    seeds: Sequence[int] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Sweep:
    """Read a recipe and validate it and every point of its sweep.

    Args:
        path, overrides, plugins: as for `load_recipe`.
        grid: texts such as `"loss.temperature=1,2,4"`, in place of the recipe's `[sweep]`; of a search also ranges,
            `"loss.temperature=1..8"`, `"train.optimizer.learning_rate=1e-4..1e-2:log"`.
        points: a .toml or .json file with `points`, in place of the recipe's.
        search: how many points to draw from the grid, at most 10,000; None: every combination of it.
        seeds: of every point, in place of the recipe's.
        note: takes lines for the user: of many points how many are checked, and how many are equal to others.

    Raises:
        UsageError: when nothing is swept, or the arguments do not go together.
        RecipeError: with all problems of all points.
        EnvironmentProblem: when a plugin that the recipe requires is missing or broken.
    """
    return _sweep_of(*_read(path, overrides, plugins), grid, points, search, seeds, note)


def load_with_points(path: str | Path, overrides: Iterable[str] = (), *, plugins: Iterable[str | Path] = ()) -> Recipe:
    """As `load_recipe`; every point of the recipe's own `[sweep]` is validated too.

    Raises:
        RecipeError, EnvironmentProblem: as `load_sweep`.
    """
    draft, recipe = _read(path, overrides, plugins)
    if recipe.sweep and (recipe.sweep.grid or recipe.sweep.points):
        _sweep_of(draft, recipe)
    return recipe


def _read(path: str | Path, overrides: Iterable[str], plugins: Iterable[str | Path]) -> tuple[Draft, Recipe]:
    """A recipe as it is written, which points are made from; and validated, without their changes."""
    draft = read_draft(path, overrides, plugins=plugins)
    try:
        return draft, recipe_of(draft._replace(data=copy.deepcopy(draft.data)))  # it puts paths right in place
    except RecipeError as error:
        raise _with_those_of_points(error, draft) from None


def _sweep_of(
    draft: Draft,
    recipe: Recipe,
    grid: Sequence[str] = (),
    points: str | Path | None = None,
    search: int | None = None,
    seeds: Sequence[int] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Sweep:
    """The sweep of a recipe; the other arguments are those of `load_sweep`."""
    table = recipe.sweep
    seeds = tuple(seeds or (table and table.seeds) or recipe.compare.seeds)
    if grid and points:
        raise UsageError("Give either --grid or --points, not both.")
    if search is not None and points:
        raise UsageError("--search draws its points from --grid; --points names them all. Give one of the two.")
    if search is not None and search > MOST_POINTS:
        raise UsageError(f"--search {search:,} asks for too many points: a sweep has at most {MOST_POINTS:,}.")
    if grid:
        written = Written(seeds, [grid_option(text, search is not None) for text in grid], search=search)
        _refuse_twice([key for key, _ in written.grid], grid)
    elif points:
        written = Written(seeds, points=points_in_file(str(points)))
    elif table and table.grid:
        listed = [(key, values_listed(draft, key, values)) for key, values in table.grid.items()]
        written = Written(seeds, listed, search=search)
    elif table and table.points and search is None:
        written = Written(seeds, points=points_in_array(draft.places, ("sweep", "points"), table.points))
    else:
        raise UsageError(NOTHING_SWEPT.format(draft.file))
    return sweep_from(draft, recipe, written, note)


def sweep_from(
    draft: Draft, recipe: Recipe, written: Written, note: Callable[[str], None] = lambda text: None
) -> Sweep:
    """The sweep of what is written.

    Args:
        draft: of the recipe, which points are made from.
        recipe: the same, valid.
        written: what is to be tried.
        note: as for `load_sweep`.

    Raises:
        UsageError, RecipeError, EnvironmentProblem: as `load_sweep`.
    """
    seeds = written.seeds
    if written.points:
        made = points_of(draft, written.points, seeds, note)
        swept = list(dict.fromkeys(key for point in made for key in point.changes))
        digest = sweep_digest(recipe, "points", seeds, [point.recipe.fingerprint for point in made])
        return Sweep(recipe, "points", swept, seeds, made, digest, draft, written)
    _refuse_keys(written.grid)
    if written.search is not None:
        return _searched(draft, recipe, written, written.search)
    listed = [values for _, values in written.grid if not isinstance(values, Span)]
    _refuse_too_many(listed)
    made = points_of(draft, combinations(listed), seeds, note)
    digest = sweep_digest(recipe, "grid", seeds, [point.recipe.fingerprint for point in made])
    return Sweep(recipe, "grid", [key for key, _ in written.grid], seeds, made, digest, draft, written)


def _with_those_of_points(error: RecipeError, draft: Draft) -> RecipeError:
    """What is wrong with a recipe, and beside it with the points of its own `[sweep]`, where these can be told."""
    table, wrong = draft.data.get("sweep"), {problem.path for problem in error.problems}
    if not isinstance(table, dict) or any(re.match(r"sweep($|\.grid|\.points)", path) for path in wrong):
        return error
    try:
        written = [(key, values_listed(draft, key, values)) for key, values in table.get("grid", {}).items()]
        _refuse_keys(written)
        points = points_in_array(draft.places, ("sweep", "points"), table.get("points", ()))
        points_of(draft, points or combinations([values for _, values in written]), (0,))
    except RecipeError as more:
        told = {(one.file, one.line, one.column, one.path) for one in error.problems}
        new = [one for one in more.problems if (one.file, one.line, one.column, one.path) not in told]
        return RecipeError([*error.problems, *new])
    except EnvironmentProblem:  # what is wrong comes first
        pass
    return error


def _searched(draft: Draft, recipe: Recipe, written: Written, trials: int) -> Sweep:
    """A search: each choice, and both ends of each range, are validated alone."""
    space, seeds = dict(written.grid), written.seeds
    alone = [[one] for part in space.values() for one in (part.ends if isinstance(part, Span) else part)]
    points_of(draft, alone, seeds)
    typed: dict[str, list[Change] | Span] = {}
    for key, part in space.items():
        if isinstance(part, Span):  # a range of whole numbers is one of real numbers where the key takes these
            value: Any = changed(draft, [part.ends[0]], seeds).data
            for step in dotted(key) or ():
                value = value[step]
            part = part if isinstance(value, int) else part.of_numbers()
        typed[key] = part
    told = [[key, v.told if isinstance(v, Span) else [one.value for one in v]] for key, v in typed.items()]
    digest = sweep_digest(recipe, "search", seeds, told)
    return Sweep(recipe, "search", list(space), seeds, [], digest, draft, written, typed, trials)


def _refuse_twice(keys: list[str], texts: Sequence[str]) -> None:
    for number, key in enumerate(keys):
        if key in keys[:number]:
            rule = "stands twice: write all of its values into one --grid"
            raise RecipeError([Problem(f"--grid {texts[number]}", 0, 0, key, rule, code="repeated-key")])


def _refuse_keys(written: Sequence[tuple[str, list[Change] | Span]]) -> None:
    for key, values in written:
        if dotted(key) is None:
            first = values.ends[0] if isinstance(values, Span) else values[0]
            refuse_no_key(key, first.key_at)


def _refuse_too_many(listed: Sequence[Sequence[Change]]) -> None:
    if (count := math.prod(map(len, listed))) > MOST_POINTS:
        raise UsageError(
            f"The grid has {count:,} points, and a sweep has at most {MOST_POINTS:,}. Give fewer values, or draw some "
            "of them with --search."
        )
