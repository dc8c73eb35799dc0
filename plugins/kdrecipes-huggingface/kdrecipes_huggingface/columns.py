"""Which columns of a data set hold images and labels, and what the labels are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdrecipes import RunError

NO_LABEL = -1
_LISTED = 20  # classes that a message proposes


def image_column(features: Mapping[str, Any], wanted: str | None) -> str:
    """The column of the images: the one that is wanted, else the only one of type Image.

    Args:
        features: type of each column, as `datasets` describes them.
        wanted: what the recipe says.

    Raises:
        RunError: no such column, none that holds images, or several that could be meant.
    """
    return _column(features, wanted, "image", "Image", _holds_images, "encoded images: Image, or binary")


def label_column(features: Mapping[str, Any], wanted: str | None) -> str:
    """The column of the labels: the one that is wanted, else the only one of type ClassLabel.

    Args:
        features: type of each column, as `datasets` describes them.
        wanted: what the recipe says.

    Raises:
        RunError: no such column, none that holds labels, or several that could be meant.
    """
    return _column(features, wanted, "label", "ClassLabel", _holds_labels, "ClassLabel, integers or texts")


def labels_of(
    values: Sequence[Any], feature: Any, name: str, classes: list[str] | None
) -> tuple[np.ndarray, list[str]]:
    """The labels of a column and the names of the classes.

    Args:
        values: of a column; None, or −1, is an image without a label.
        feature: the column's type.
        name: the column's.
        classes: what the recipe says.

    Returns:
        int64 (rows,), −1 where there is none; and the classes' names.

    Raises:
        RunError: names that are missing or do not fit the column.
    """
    if _is("ClassLabel")(feature):
        places, names = _renamed(list(feature.names), name, classes)
        return _numbers(values, lambda value: places[value] if 0 <= value < len(places) else value), names
    if classes is None:
        known = sorted({value for value in values if value is not None})
        if not isinstance(known[0] if known else "", str):
            known = list(map(str, range(max(map(int, known)) + 1)))
        more = ", …" if len(known) > _LISTED else ""
        proposed = ", ".join(f'"{value}"' for value in known[:_LISTED])
        raise RunError(
            f"the column {name!r} is {_type_of(feature)} and names no classes. Name them, in the order of the labels: "
            f"classes = [{proposed}{more}]"
        ).at("dataset.classes")
    if _dtype(feature) in _TEXTS:
        places_of = {text: place for place, text in enumerate(classes)}
        unknown = {value: row for row, value in reversed(list(enumerate(values))) if value not in {*places_of, None}}
        if unknown:
            where = _few(f"{value!r} (row {row})" for value, row in sorted(unknown.items(), key=lambda item: item[1]))
            raise RunError(f"the column {name!r} holds {where}; expected one of {_few(map(repr, classes))}").at(
                "dataset.classes"
            )
        return _numbers(values, places_of.__getitem__), list(classes)
    return _numbers(values, int), list(classes)


def _renamed(own: list[str], name: str, classes: list[str] | None) -> tuple[list[int], list[str]]:
    """For each label of a ClassLabel its label here, and the classes' names here."""
    if classes is None or classes == own:
        return list(range(len(own))), own
    if set(classes) == set(own):
        return [classes.index(text) for text in own], list(classes)
    if own == list(map(str, range(len(own)))) and len(classes) == len(own):  # numbers, which say nothing
        return list(range(len(own))), list(classes)
    raise RunError(
        f"the column {name!r} has the {len(own)} classes {_few(map(repr, own))}; the same names are expected, in any "
        f"order. Received: {len(classes)}, {_few(map(repr, classes))}"
    ).at("dataset.classes")


def _numbers(values: Iterable[Any], number: Callable[[Any], int]) -> np.ndarray:
    return np.array([NO_LABEL if value is None else number(value) for value in values], np.int64)


def _column(
    features: Mapping[str, Any], wanted: str | None, what: str, kind: str, holds: Callable[[Any], bool], expected: str
) -> str:
    """The column that is wanted, if it `holds` what is `expected`; else the only one whose type is of that kind."""
    option = f"dataset.{what}_column"
    if wanted is None:
        return _only(features, kind, f"{what}s (type {kind})", option)
    if wanted not in features:
        listed = ", ".join(map(repr, features))
        raise RunError(f"there is no column {wanted!r}; the columns are {listed}").at(option)
    if not holds(features[wanted]):
        raise RunError(f"the column {wanted!r} is {_type_of(features[wanted])}; expected {expected}").at(option)
    return wanted


def _only(features: Mapping[str, Any], kind: str, what: str, option: str) -> str:
    """The one column of that type."""
    found = [name for name, feature in features.items() if _is(kind)(feature)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(filter(None, (", ".join(map(repr, found[:-1])), repr(found[-1]))))
        raise RunError(f"{names} could be the {what}. Name one of them").at(option)
    have = ", ".join(f"{name!r} ({_type_of(feature)})" for name, feature in features.items())
    raise RunError(f"no column holds {what}; the columns are {have}. Name the one that is meant").at(option)


def _is(kind: str) -> Callable[[Any], bool]:
    return lambda feature: type(feature).__name__ == kind


_TEXTS, _BYTES = ("string", "large_string"), ("binary", "large_binary")


def _dtype(feature: Any) -> str:
    return str(getattr(feature, "dtype", ""))


def _holds_images(feature: Any) -> bool:
    """Type Image, what it is made of, or encoded images alone."""
    parts = feature if isinstance(feature, dict) else {}
    return _is("Image")(feature) or _dtype(parts.get("bytes", feature)) in _BYTES


def _holds_labels(feature: Any) -> bool:
    whole = _is("Value")(feature) and _dtype(feature).removeprefix("u").startswith(("int", "bool"))
    return _is("ClassLabel")(feature) or whole or _dtype(feature) in _TEXTS


def _type_of(feature: Any) -> str:
    """A column's type in a word."""
    word = _dtype(feature).removeprefix("large_") if _is("Value")(feature) else type(feature).__name__
    return "text" if word == "string" else word


def _few(texts: Iterable[str]) -> str:
    first = list(texts)
    return ", ".join(first[:_LISTED]) + (", …" if len(first) > _LISTED else "")
