"""What a sweep is asked to try: keys and their values, or points, each with the place at which it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kdrecipes.errors import Problem, RecipeError
from kdrecipes.recipe.extends import Place
from kdrecipes.recipe.load import Draft
from kdrecipes.recipe.overrides import dotted
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.source import MOST_POINTS, parse, read
from kdrecipes.recipe.sweep_points import Change
from kdrecipes.recipe.sweep_text import Span


class Written(NamedTuple):
    """What is to be tried.

    Attributes:
        seeds: of every point.
        grid: of each key its values, or for a search a range; empty where points are written out.
        points: what each changes; empty for a grid and a search.
        search: how many points are drawn from the grid; None: every combination of it is one.
    """

    seeds: tuple[int, ...]
    grid: Sequence[tuple[str, list[Change] | Span]] = ()
    points: Sequence[Sequence[Change]] = ()
    search: int | None = None


def values_listed(draft: Draft, key: str, values: Sequence[Any]) -> list[Change]:
    """The values of one key of the recipe's own grid, each with its place."""
    at: KeyPath = ("sweep", "grid", key)
    key_at = draft.places.get(at) or _command(draft, at)
    return [Change(key, value, _inside(draft, (*at, i)), key_at) for i, value in enumerate(values)]


def points_in_file(path: str) -> list[list[Change]]:
    """The points of a file.

    Raises:
        RecipeError: when it can't be read, or holds something else.
    """
    file, folder, text = read(path)
    data, positions = parse(text, file)
    places = {key: Place(file, line, column, folder) for key, (line, column) in positions.items()}
    problems = []
    for key in data:
        if key != "points":
            rule = "unknown key: a file of points holds `points` alone"
            problems.append(Problem(file, *positions[(key,)], key, rule, code="unknown-key"))
    points = data.get("points")
    if not isinstance(points, list) or not points or not all(isinstance(one, dict) for one in points):
        rule = 'must be an array of tables, each a point: points = [{ loss = { name = "dist" } }]'
        line, column = positions.get(("points",), (1, 1))
        problems.append(Problem(file, line, column, "points", rule, code="wrong-type"))
    elif len(points) > MOST_POINTS:
        rule = f"must have at most {MOST_POINTS:,} points"
        received = f"{len(points):,} points"
        problems.append(Problem(file, *positions[("points",)], "points", rule, received, code="wrong-length"))
    if problems:
        raise RecipeError(problems)
    assert isinstance(points, list)
    return points_in_array(places, ("points",), points)


def points_in_array(
    places: Mapping[KeyPath, Place], at: KeyPath, tables: Sequence[Mapping[str, Any]]
) -> list[list[Change]]:
    """The points of an array that is written out at `at`."""
    within: dict[KeyPath, dict[KeyPath, Place]] = {}
    for path in [path for path in places if path[: len(at)] == at]:
        within.setdefault(path[: len(at) + 2], {})[path[len(at) + 2 :]] = places[path]
    return [_point(within, (*at, i), table) for i, table in enumerate(tables)]


def _point(within: Mapping[KeyPath, Mapping[KeyPath, Place]], at: KeyPath, table: Mapping[str, Any]) -> list[Change]:
    changes = []
    for key, value in table.items():
        inside, command = within.get((*at, key), {}), f"--set sweep.points[{at[-1]}]"
        changes.append(Change(key, value, inside or command, inside.get((), command)))
        if dotted(key) is None:
            refuse_no_key(key, changes[-1].key_at)
    return changes


def _inside(draft: Draft, at: KeyPath) -> Mapping[KeyPath, Place] | str:
    return {path[len(at) :]: draft.places[path] for path in draft.places if path[: len(at)] == at} or _command(
        draft, at
    )


def _command(draft: Draft, at: KeyPath) -> str:
    """The `--set` that wrote a part of the recipe's `[sweep]`."""
    texts = [text for path, text in draft.overridden.items() if at[: len(path)] == path]
    return f"--set {texts[-1] if texts else 'sweep'}"


def refuse_no_key(key: str, at: Place | str) -> None:
    rule = "is no key: write it as a recipe would, such as loss.temperature"
    where = (at, 0, 0) if isinstance(at, str) else (at.file, at.line, at.column)
    raise RecipeError([Problem(*where, key, rule, code="wrong-form")])
