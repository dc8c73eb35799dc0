"""Dataclasses out of JSON, with every field of its type."""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def typed(kind: type[T], value: Any) -> T:
    """A dataclass from its JSON form; a field with a default may be missing: it is newer than some files.

    Raises:
        ValueError: saying which key is wrong.
    """
    hints = get_type_hints(kind)
    needed = {one.name for one in fields(kind) if one.default_factory is MISSING}  # type: ignore[arg-type]
    if not isinstance(value, dict) or not needed <= value.keys() <= hints.keys():
        raise ValueError(f"its keys are not {', '.join(hints)}: another version's?")
    for key, one in value.items():
        if not _fits(one, hints[key]):
            raise ValueError(f"{key} can't be {one!r}")
    return kind(**value)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a JSON file is of a field's type; true and false are no numbers here."""
    if isinstance(value, bool):
        return hint is bool
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(entry, get_args(hint)[0]) for entry in value)
    return isinstance(value, hint if isinstance(hint, UnionType) else get_origin(hint) or hint)
