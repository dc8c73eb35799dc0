"""The ids of a recipe's teachers: as written, or the component's name, numbered where that is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdrecipes.recipe.structure import Data, definition


def teacher_ids(tables: Sequence[Data]) -> list[list[str]]:
    """For each teacher's table the ids of its copies, in order: `["lite2", "lite2_2"]`; no two are the same.

    Args:
        tables: `[teacher]`, or those of `[[teacher]]`; what is wrong in one counts as absent. An `id` that stands twice
            is given twice.
    """
    taken = {table["id"] for table in tables if isinstance(table.get("id"), str)}
    ids: list[list[str]] = []
    for table in tables:
        written = table.get("id") if isinstance(table.get("id"), str) else None
        base = written or _default(table.get("name"))
        own = [] if written is None else [written]
        while len(own) < _copies(table):
            own.append(_free(base, taken))
            taken.add(own[-1])
        ids.append(own)
    return ids


def _default(name: object) -> str:
    """The component's name; one that can't be an id, such as "ensemble", with a word before it."""
    text = name if isinstance(name, str) and name else "teacher"
    return text if re.match(definition("teacher")["properties"]["id"]["pattern"], text) else f"teacher-{text}"


def _free(base: str, taken: set[str]) -> str:
    name, count = base, 2
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    return name


def _copies(table: Data) -> int:
    copies, most = table.get("copies"), definition("teacher")["properties"]["copies"]["maximum"]
    fits = isinstance(copies, int | float) and 1 <= copies <= most and copies == int(copies)
    return int(copies) if fits else 1  # type: ignore[arg-type]
