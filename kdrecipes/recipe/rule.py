"""What a rule between keys of a recipe is: whom it is about, how it is broken, how editors are told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jsonschema import Draft7Validator

from kdrecipes.errors import Code
from kdrecipes.recipe.positions import Path
from kdrecipes.recipe.structure import Data


class Broken(NamedTuple):
    """One place where a rule is broken: its path in the recipe, what to say, what was received and what was meant."""

    path: Path
    rule: str
    received: str = ""
    suggestion: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule between keys of one table.

    Attributes:
        code: of the problems that it gives.
        table: the table that it is about: a definition of the structure schema, or "" for the root.
        found: from the table's path and the table to each place where the rule is broken; at least one where the
            table does not fit `fragment`.
        fragment: the rule in draft-07; None where that can't state it.
        whole: a recipe that extends another may break it, since the other one may have what is missing.
    """

    code: Code
    table: str
    found: Callable[[Path, Data], Iterable[Broken]]
    fragment: Data | None = None
    whole: bool = False

    @cached_property
    def _validator(self) -> Any:
        return None if self.fragment is None else Draft7Validator(self.fragment)

    def broken(self, recipe: Data) -> Iterator[Broken]:
        """Each place of a recipe where it is broken. Values of wrong types are not its business."""
        for path, table in _tables(recipe, self.table):
            if self._validator is None or not self._validator.is_valid(table):
                yield from self.found(path, table)


def _tables(recipe: Data, name: str) -> Iterator[tuple[Path, Data]]:
    """Every table of a recipe that one definition of the structure schema describes, with its path."""
    paths: dict[str, Path] = {"": (), "views": ("dataset", "views"), "term": ("loss", "terms")}
    path = paths.get(name, (name,))
    value: Any = recipe
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    places = [((*path, i), part) for i, part in enumerate(value)] if isinstance(value, list) else [(path, value)]
    for place, table in places:
        if isinstance(table, dict):
            yield place, table
