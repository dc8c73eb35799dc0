"""How labels as people write them become class names and numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from kdrecipes.wording import nearest, some_of

_WHOLE = re.compile("-?[0-9]{1,18}")
_FRACTION = re.compile(r"-?[0-9]{1,18}\.0+")
NO_LABEL = "-1"  # among labels that are numbers
UNLABELLED = "unlabelled"  # the split of the examples without a label
WITHOUT_LABEL = f"without a label, which are the split {UNLABELLED!r}"  # follows a count

# What both datasets say of the option `classes`.
CLASSES_OPTION = {
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "minItems": 2,
    "uniqueItems": True,
    "examples": [["cat", "dog"]],
    "description": "Names of the classes, in the order of their numbers; labels are these names, or numbers from 0. "
    "Default: the labels of train, sorted",
}


def label_text(value: Any) -> str | None:
    """A label as text; None where there is none.

    Raises:
        ValueError: when it is neither a text nor a whole number; its message is what it is.
    """
    if value is None or value != value:  # NaN stands for nothing in many tables
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.strip() or None
    raise ValueError(f"{value!r:.60} is no label: a label is one name or one whole number")


def plain_numbers(labels: Sequence[str | None]) -> list[str | None]:
    """The labels without the `.0` that programs write where a column of whole numbers has gaps; and without `-1`."""
    some = {label for label in labels if label is not None}
    if not all(_WHOLE.fullmatch(label) or _FRACTION.fullmatch(label) for label in some):
        return list(labels)
    numbers = {label: label.partition(".")[0] for label in some}
    return [None if label is None or numbers[label] == NO_LABEL else numbers[label] for label in labels]


def numbered(
    train: Iterable[str], all_: Collection[str], given: Sequence[str] | None
) -> tuple[list[str], dict[str, int]]:
    """The classes' names, and the number of each label that is of one.

    Args:
        train: labels that occur in train.
        all_: labels that occur anywhere.
        given: the option `classes`. Labels are these names; where not one label is a name and all are whole numbers
            below their count, they are the names' numbers.
    """
    if given is None:
        names = sorted(set(train))
        if all(map(_WHOLE.fullmatch, names)):
            names.sort(key=int)
        return names, {name: number for number, name in enumerate(names)}
    by_name = {name: number for number, name in enumerate(given)}
    if not any(label in by_name for label in all_) and all(_WHOLE.fullmatch(label) for label in all_):
        return list(given), {label: int(label) for label in all_ if 0 <= int(label) < len(given)}
    return list(given), by_name


def no_class(label: str, numbers: Mapping[str, int], names: Sequence[str], given: bool) -> str:
    """What is said of a label that is of no class."""
    whose = "is not among dataset.classes" if given else "does not occur in train, whose classes are"
    end = f" ({some_of(names, 'classes')})" if given else f" {some_of(names, 'classes')}"
    near = nearest(label, names)
    return f"the label {label!r} {whose}{end}" + (f"; did you mean {near!r}?" if near else "")
