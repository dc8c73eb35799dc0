"""Rules between keys of a recipe: for messages, which no schema states in words a person would use, and for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdrecipes.recipe.structure import Data, component_tables, definition, parse_requirement, show, structure_schema
from kdrecipes.wording import nearest

if TYPE_CHECKING:
    from kdrecipes.recipe.checker import Checker

# The same rules for the editor's schema, as far as draft-07 states them; what it can't state (splits written alike,
# ranges from the least to the greatest, lists as long as each other, names of distributions) `check` alone finds.
_HAS_TERM: dict[str, Any] = {"anyOf": [{"required": ["name"]}, {"required": ["terms"]}]}
_HAS_WEIGHT: dict[str, Any] = {"properties": {"weight": {"exclusiveMinimum": 0}}}  # absent: 1
_PROJECTOR: dict[str, Any] = {"dependencies": {"projector": ["student_layers", "teacher_layers"]}}

# Rules for a whole recipe; what one with `extends` leaves out, the other one may have.
ROOT_RULES: list[dict[str, Any]] = [
    {
        "if": {"required": ["teacher"]},
        "then": {"required": ["loss"], "properties": {"loss": _HAS_TERM}},
        "else": {"properties": {"compare": {"properties": {"baseline": {"const": True}}}}},
    },
    {"if": {"required": ["loss"], "properties": {"loss": _HAS_TERM}}, "then": {"required": ["teacher"]}},
    {
        "properties": {
            "loss": {
                **_PROJECTOR,
                "if": {"required": ["label_weight"], "properties": {"label_weight": {"const": 0}}},
                "then": {
                    "anyOf": [
                        {"required": ["name"], **_HAS_WEIGHT},
                        {"required": ["terms"], "properties": {"terms": {"contains": _HAS_WEIGHT}}},
                    ]
                },
            }
        }
    },
]
# Rules within one table, which nothing that `extends` brings can satisfy.
TABLE_RULES: dict[str, dict[str, Any]] = {
    "term": _PROJECTOR,
    "views": {"dependencies": {"random_resized_crop": {"properties": {"crop_padding": {"const": 0}}}}},
}


def check(checker: Checker) -> None:
    """Report every broken rule between keys to `checker`."""
    loss = checker.data.get("loss", {})
    if isinstance(loss, dict):
        _loss(checker, loss)
        has_term = checker.has("loss", "name") or checker.has("loss", "terms")
        if not has_term and checker.has("teacher") and not checker.has("loss"):
            checker.report(("teacher",), 'needs a distillation term: add [loss] with, say, name = "kd"')
        if not checker.has("teacher") and has_term:
            checker.report(("loss",), "a distillation term needs a [teacher]")
        if not checker.has("teacher") and not has_term and checker.get(("compare", "baseline")) is False:
            checker.report(("compare", "baseline"), "without a [teacher] there is only the baseline to train", "false")
    for index, text in enumerate(checker.data["requires"] if isinstance(checker.data.get("requires"), list) else ()):
        if isinstance(text, str) and text and parse_requirement(text) is None:
            rule = 'must be a plugin\'s distribution, perhaps with versions, such as "kdrecipes-x>=1"'
            checker.report(("requires", index), rule, show(text))
    _ranges(checker)
    _splits(checker)


def _loss(checker: Checker, loss: Data) -> None:
    own, term = definition("loss")["properties"], definition("term")["properties"]
    if "name" in loss and "terms" in loss:
        checker.report(("loss", "terms"), "give either `name` or `[[loss.terms]]`, not both")
    elif "name" in loss:
        checked = {key: loss[key] for key in loss if key in term}
        checker.schema(("loss",), checked, {**definition("term"), "definitions": structure_schema()["definitions"]})
    else:
        strays = [key for key in loss if key not in own]
        for key in list(strays):
            if nearest(key, [*own, "name"]) and key not in term:
                checker.unknown_key(("loss", key), [*own, "name"])
                strays.remove(key)
            elif "terms" in loss:
                rule = "stands beside [[loss.terms]]; a term's keys belong in its own [[loss.terms]] table"
                checker.report(("loss", key), rule, show(key))
        if not checker.has("loss", "terms") and (strays or (checker.has("teacher") and checker.has("loss"))):
            checker.missing.append((("loss", "name"), {}))
    weights = [loss.get("weight", 1.0)] if "name" in loss else []
    for table in loss["terms"] if isinstance(loss.get("terms"), list) else []:
        weights.append(table.get("weight", 1.0) if isinstance(table, dict) else 1.0)
    if loss.get("label_weight", 1.0) == 0 and not any(weight != 0 for weight in weights):
        rule = "must be greater than 0 where no term has a weight"
        checker.report(("loss", "label_weight"), rule, show(loss["label_weight"]))
    for path, _, kind, value in component_tables(checker.data):
        if kind != "loss" or "projector" not in value:
            continue
        pair = [value.get("student_layers"), value.get("teacher_layers")]
        if None in pair:
            checker.report((*path, "projector"), "needs student_layers and teacher_layers to map between")
        elif isinstance(pair[0], list) and isinstance(pair[1], list) and len(pair[0]) != len(pair[1]):
            rule = (
                f"needs as many teacher_layers as student_layers, to map each to its partner ({len(pair[1])} "
                f"and {len(pair[0])} are given)"
            )
            checker.report((*path, "projector"), rule)


def _ranges(checker: Checker) -> None:
    views = checker.get(("dataset", "views"))
    box = views.get("random_resized_crop") if isinstance(views, dict) else None
    if isinstance(box, dict) and views.get("crop_padding"):
        rule = "can't be combined with random_resized_crop"
        checker.report(("dataset", "views", "crop_padding"), rule, show(views["crop_padding"]))
    for table in ("random_resized_crop", "random_erasing"):
        ranges = views.get(table) if isinstance(views, dict) else None
        for key in ("scale", "ratio"):
            pair = ranges.get(key) if isinstance(ranges, dict) else None
            if (
                isinstance(pair, list)
                and len(pair) == 2
                and all(isinstance(v, int | float) for v in pair)
                and pair[0] > pair[1]
            ):
                path = ("dataset", "views", table, key)
                checker.report(path, "must go from the least to the greatest", show(pair))


def _splits(checker: Checker) -> None:
    """Splits written alike overlap for certain; slices are compared once the data are there."""
    dataset = checker.data.get("dataset")
    if not isinstance(dataset, dict):
        return
    names = {
        key: dataset.get(key, default)
        for key, default in (("train", "train"), ("validation", "validation"), ("test", "test"))
    }
    seen: dict[str, str] = {}
    for key, split in names.items():
        if isinstance(split, str) and split in seen:
            # Point at the one that is written; the other may be the default.
            this, other = (key, seen[split]) if key in dataset else (seen[split], key)
            checker.report(("dataset", this), f"must not be the same images as dataset.{other}", show(split))
        elif isinstance(split, str):
            seen[split] = key
