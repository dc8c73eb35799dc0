"""A sweep as it was given, as JSON, and back: its folder keeps it, so that the sweep goes on without the recipe's file.

All is kept that the command read: the recipe as it is written, where each of its keys stands, and what is to be tried.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdrecipes.components.registry import Registry
from kdrecipes.recipe.extends import Place
from kdrecipes.recipe.load import Draft, recipe_of
from kdrecipes.recipe.overrides import dotted
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.source import MOST_POINTS
from kdrecipes.recipe.sweep import Sweep, sweep_from
from kdrecipes.recipe.sweep_points import Change
from kdrecipes.recipe.sweep_text import Span
from kdrecipes.recipe.sweep_written import Written


def kept(sweep: Sweep) -> dict[str, Any]:
    """What `sweep_of` makes the sweep of again, JSON-able."""
    draft, written = sweep.draft, sweep.written
    return {
        "source": draft.source,
        "file": draft.file,
        "folder": str(draft.folder.absolute()),
        "text": draft.text,
        "data": draft.data,
        "places": _places_kept(draft.places),
        "overrides": list(draft.overrides),
        "overridden": [[list(path), text] for path, text in draft.overridden.items()],
        "seeds": list(written.seeds),
        "search": written.search,
        "grid": [
            [key, _span_kept(part) if isinstance(part, Span) else [_change_kept(one) for one in part]]
            for key, part in written.grid
        ],
        "points": [[_change_kept(one) for one in point] for point in written.points],
    }


def sweep_of(told: Mapping[str, Any], registry: Registry, trials: int | None) -> Sweep:
    """The sweep that `kept` told of; validated anew, recipe and points: who wrote it may be a stranger.

    Args:
        told: from `kept`.
        registry: what is installed.
        trials: of a search, how many points are drawn; None: as many as at first.

    Raises:
        KeyError, TypeError, ValueError: when it is no such thing.
        UsageError, RecipeError, EnvironmentProblem: as `load_sweep`.
    """
    draft = Draft(
        source=_text(told["source"]),
        file=_text(told["file"]),
        folder=Path(_text(told["folder"])),
        text=_text(told["text"]),
        data=dict(told["data"]),
        places=_places(told["places"]),
        overrides=tuple(map(_text, told["overrides"])),
        overridden={_path(path): _text(text) for path, text in told["overridden"]},
        registry=registry,
    )
    search = None if told["search"] is None else _number(trials or told["search"])
    if search and search > MOST_POINTS:
        raise ValueError(f"it draws more than {MOST_POINTS:,} points")
    written = Written(
        seeds=tuple(map(_number, told["seeds"])),
        grid=[(_key(key), _span(part) if isinstance(part, dict) else _changes(part)) for key, part in told["grid"]],
        points=[_changes(point) for point in told["points"]],
        search=search,
    )
    if not written.seeds or not all(part for _, part in written.grid) or not (written.grid or written.points):
        raise ValueError("it has no points")
    if len(written.points) > MOST_POINTS:
        raise ValueError(f"it has more than {MOST_POINTS:,} points")
    recipe = recipe_of(draft._replace(data=copy.deepcopy(draft.data)))
    return sweep_from(draft, recipe, written)


def _places_kept(places: Mapping[KeyPath, Place]) -> list[Any]:
    return [[list(path), *_place_kept(place)] for path, place in places.items()]


def _place_kept(place: Place) -> list[Any]:
    return [place.file, place.line, place.column, str(place.folder.absolute())]


def _change_kept(change: Change) -> dict[str, Any]:
    at = change.at if isinstance(change.at, str) else _places_kept(change.at)
    key_at = change.key_at if isinstance(change.key_at, str) else _place_kept(change.key_at)
    return {"key": change.key, "value": change.value, "at": at, "key_at": key_at}


def _span_kept(span: Span) -> dict[str, Any]:
    return {"key": span.key, "low": span.low, "high": span.high, "log": span.log, "text": span.text}


def _places(told: Sequence[Any]) -> dict[KeyPath, Place]:
    return {_path(path): _place(place) for path, *place in told}


def _place(told: Sequence[Any]) -> Place:
    file, line, column, folder = told
    return Place(_text(file), _number(line), _number(column), Path(_text(folder)))


def _changes(told: Sequence[Any]) -> list[Change]:
    return [_change(one) for one in told]


def _change(told: Mapping[str, Any]) -> Change:
    at, key_at = told["at"], told["key_at"]
    places = at if isinstance(at, str) else _places(at)
    if not isinstance(places, str) and () not in places:
        raise ValueError(f"{told['key']} has no place")
    return Change(_key(told["key"]), told["value"], places, key_at if isinstance(key_at, str) else _place(key_at))


def _span(told: Mapping[str, Any]) -> Span:
    low, high, log = told["low"], told["high"], told["log"]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or type(log) is not bool or not low < high or (log and low <= 0):
        raise ValueError(f"{told['key']} has no range")
    return Span(_key(told["key"]), low, high, log, _text(told["text"]))


def _path(told: Sequence[Any]) -> KeyPath:
    if not isinstance(told, list) or not all(type(part) in (str, int) for part in told):
        raise ValueError(f"{told!r} is no path of a key")
    return tuple(told)


def _key(told: Any) -> str:
    if dotted(_text(told)) is None:
        raise ValueError(f"{told!r} is no key")
    return str(told)


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise ValueError(f"{told!r} is no text")
    return told


def _number(told: Any) -> int:
    if type(told) is not int or told < 0:
        raise ValueError(f"{told!r} is no number from 0")
    return told
