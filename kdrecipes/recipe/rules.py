"""Rules between keys of a recipe, as data: the validator and the editor's schema read the same list.

A rule with a `fragment` is broken where its table does not fit that fragment, for both of them; `found` only says it in
words that a person would use. What draft-07 can't state, `found` alone decides, and editors do not know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kdrecipes.recipe.messages import NO_TERM
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.rule import Broken, Rule
from kdrecipes.recipe.schedule_rules import SCHEDULE_RULES
from kdrecipes.recipe.split_rules import SPLIT_RULES
from kdrecipes.recipe.structure import (
    Data,
    definition,
    one_of,
    parse_requirement,
    show,
    teacher_tables,
    term_tables,
)
from kdrecipes.recipe.sweep_rules import SWEEP_RULES
from kdrecipes.recipe.teacher_ids import teacher_ids
from kdrecipes.wording import nearest

# ---- a teacher and what it teaches by

_NAMED: Data = {"required": ["name"]}
_SEVERAL: Data = {"required": ["terms"]}
_TAUGHT: Data = {"required": ["loss"], "properties": {"loss": {"anyOf": [_NAMED, _SEVERAL]}}}
_TEACHER: Data = {"required": ["teacher"]}


def _teacher_without_term(path: Path, recipe: Data) -> Iterator[Broken]:
    if "loss" in recipe:
        yield Broken(("loss", "name"), NO_TERM)
    else:
        yield Broken(("teacher",), 'needs a distillation term: add [loss] with, say, name = "kd"')


def _term_without_teacher(path: Path, recipe: Data) -> Iterator[Broken]:
    yield Broken(("loss",), "a distillation term needs a [teacher]")


def _only_the_baseline(path: Path, recipe: Data) -> Iterator[Broken]:
    rule = "without a [teacher] there is only the baseline to train"
    yield Broken(("compare", "baseline"), rule, show(recipe["compare"]["baseline"]))


# ---- several teachers, and the terms that hear one of them

_COPIED: Data = {"required": ["copies"], "properties": {"copies": {"type": "integer", "minimum": 2}}}
_TABLE: Data = {"type": "object", **_COPIED}
_SEVERAL_TEACHERS: Data = {
    "required": ["teacher"],
    "properties": {"teacher": {"anyOf": [_TABLE, {"type": "array", "anyOf": [{"minItems": 2}, {"contains": _TABLE}]}]}},
}
_FEATURES_NAME_A_TEACHER: Data = {"dependencies": {"teacher_layers": ["teacher"]}}
_FEATURES_OF_ONE: Data = {
    "if": _SEVERAL_TEACHERS,
    "then": {
        "properties": {
            "loss": {**_FEATURES_NAME_A_TEACHER, "properties": {"terms": {"items": _FEATURES_NAME_A_TEACHER}}}
        }
    },
}


def _ids(recipe: Data) -> list[str]:
    return [name for own in teacher_ids([table for _, table in teacher_tables(recipe)]) for name in own]


def _repeated_ids(path: Path, recipe: Data) -> Iterator[Broken]:
    seen: dict[str, Path] = {}
    for place, table in teacher_tables(recipe):
        name = table.get("id")
        if isinstance(name, str) and name in seen:
            yield Broken((*place, "id"), f"must not be that of {show_path(seen[name])} too", show(name))
        elif isinstance(name, str):
            seen[name] = place


def _unknown_teachers(path: Path, recipe: Data) -> Iterator[Broken]:
    ids = _ids(recipe)
    for place, term in term_tables(recipe) if ids else ():
        name = term.get("teacher")
        if isinstance(name, str) and name and name not in ids:
            near = nearest(name, ids)
            rule = f"must be the id of a teacher: {one_of(list(ids))}"
            yield Broken((*place, "teacher"), rule, show(name), show(near) if near else "")


def _features_of_several(path: Path, recipe: Data) -> Iterator[Broken]:
    rule = f"missing key: a term on features hears one teacher; name {one_of(list(_ids(recipe)))}"
    for place, term in term_tables(recipe):
        if "teacher_layers" in term and "teacher" not in term:
            yield Broken((*place, "teacher"), rule)


# ---- [loss]: one term by its name, or several in [[loss.terms]]

_OWN_KEYS = list(definition("loss")["properties"])
_NO_OTHER_KEYS: Data = {"propertyNames": {"enum": _OWN_KEYS}}
_HAS_WEIGHT: Data = {"properties": {"weight": {"not": {"const": 0}}}}  # absent: 1
_HAS_WEIGHTY_TERM: Data = {
    "anyOf": [{**_NAMED, **_HAS_WEIGHT}, {**_SEVERAL, "properties": {"terms": {"contains": _HAS_WEIGHT}}}]
}
_NO_LABEL_LOSS: Data = {"required": ["label_weight"], "properties": {"label_weight": {"const": 0}}}
_HAS_LABELS_OR_WEIGHT: Data = {
    "if": _NO_LABEL_LOSS,
    "then": _HAS_WEIGHTY_TERM,
}
_PAIRED: Data = {"dependencies": {"projector": ["student_layers", "teacher_layers"]}}


def _both_forms(path: Path, loss: Data) -> Iterator[Broken]:
    yield Broken((*path, "terms"), "give either `name` or `[[loss.terms]]`, not both")


def _keys_of_no_term(path: Path, loss: Data) -> Iterator[Broken]:
    yield Broken((*path, "name"), NO_TERM)


def _keys_beside_terms(path: Path, loss: Data) -> Iterator[Broken]:
    rule = "stands beside [[loss.terms]]; a term's keys belong in its own [[loss.terms]] table"
    for key in loss:
        if key not in _OWN_KEYS:
            yield Broken((*path, key), rule, show(key))


def _no_weight(path: Path, loss: Data) -> Iterator[Broken]:
    rule = "must be greater than 0 where no term has a weight"
    yield Broken((*path, "label_weight"), rule, show(loss["label_weight"]))


def _no_layers(path: Path, term: Data) -> Iterator[Broken]:
    yield Broken((*path, "projector"), "needs student_layers and teacher_layers to map between")


def _unpaired_layers(path: Path, term: Data) -> Iterator[Broken]:
    mine, theirs = term.get("student_layers"), term.get("teacher_layers")
    if "projector" in term and isinstance(mine, list) and isinstance(theirs, list) and len(mine) != len(theirs):
        rule = (
            f"needs as many teacher_layers as student_layers, to map each to its partner ({len(theirs)} "
            f"and {len(mine)} are given)"
        )
        yield Broken((*path, "projector"), rule)


# ---- [dataset] and what a recipe needs

_ONE_CROP: Data = {"dependencies": {"random_resized_crop": {"properties": {"crop_padding": {"const": 0}}}}}


def _two_crops(path: Path, views: Data) -> Iterator[Broken]:
    yield Broken((*path, "crop_padding"), "can't be combined with random_resized_crop", show(views["crop_padding"]))


def _backward_ranges(path: Path, views: Data) -> Iterator[Broken]:
    for table in ("random_resized_crop", "random_erasing"):
        ranges = views.get(table)
        for key in ("scale", "ratio"):
            pair = ranges.get(key) if isinstance(ranges, dict) else None
            numbers = isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, int | float) for v in pair)
            if pair and numbers and pair[0] > pair[1]:
                yield Broken((*path, table, key), "must go from the least to the greatest", show(pair))


_HAS_UNLABELLED: Data = {"anyOf": [{"required": ["labelled"]}, {"required": ["unlabelled"]}]}
_WITH_UNLABELLED: Data = {"required": ["dataset"], "properties": {"dataset": {"type": "object", **_HAS_UNLABELLED}}}


def _no_unlabelled(path: Path, dataset: Data) -> Iterator[Broken]:
    rule = "needs `labelled` or `unlabelled` beside it: without them every image has its label"
    yield Broken((*path, "labelled_share"), rule, show(dataset["labelled_share"]))


def _real_count(path: Path, dataset: Data) -> Iterator[Broken]:
    """draft-07 takes 1.0 for a whole number; here a point makes it a share."""
    labelled = dataset.get("labelled")
    if isinstance(labelled, float) and labelled >= 1:
        rule = "must be below 1 where it is a share; a count has no decimal point, and all labels are used without it"
        yield Broken((*path, "labelled"), rule, show(labelled))


def _unlabelled_need(what: str) -> Callable[[Path, Data], Iterator[Broken]]:
    """Images without labels need something that the recipe lacks."""

    def found(path: Path, recipe: Data) -> Iterator[Broken]:
        key = "unlabelled" if "unlabelled" in recipe["dataset"] else "labelled"
        yield Broken(("dataset", key), f"images without labels need {what}", show(recipe["dataset"][key]))

    return found


def _one_image_a_batch(path: Path, recipe: Data) -> Iterator[Broken]:
    rule = "must be at least 2 where a batch holds images with labels and images without"
    yield Broken(("train", "batch_size"), rule, show(recipe["train"]["batch_size"]))


def _no_requirements(path: Path, recipe: Data) -> Iterator[Broken]:
    rule = 'must be a plugin\'s distribution, perhaps with versions, such as "kdrecipes-x>=1"'
    requires = recipe.get("requires")
    for index, text in enumerate(requires if isinstance(requires, list) else ()):
        if isinstance(text, str) and text and parse_requirement(text) is None:
            yield Broken(("requires", index), rule, show(text))


RULES = (
    Rule("term-and-terms", "loss", _both_forms, {"not": {"required": ["name", "terms"]}}),
    Rule(
        "missing-term",
        "loss",
        _keys_of_no_term,
        {"if": {"not": {"anyOf": [_NAMED, _SEVERAL]}}, "then": _NO_OTHER_KEYS},
        whole=True,
    ),
    Rule(
        "misplaced-key",
        "loss",
        _keys_beside_terms,
        {"if": {**_SEVERAL, "not": _NAMED}, "then": _NO_OTHER_KEYS},
        whole=True,
    ),
    Rule("missing-term", "", _teacher_without_term, {"if": _TEACHER, "then": _TAUGHT}, whole=True),
    Rule("nothing-to-learn", "loss", _no_weight, _HAS_LABELS_OR_WEIGHT, whole=True),
    *SCHEDULE_RULES,
    Rule("unpaired-layers", "loss", _no_layers, _PAIRED, whole=True),
    Rule("unpaired-layers", "term", _no_layers, _PAIRED),
    Rule("unpaired-layers", "loss", _unpaired_layers),
    Rule("unpaired-layers", "term", _unpaired_layers),
    Rule("missing-teacher", "", _term_without_teacher, {"if": _TAUGHT, "then": _TEACHER}, whole=True),
    Rule(
        "nothing-to-compare",
        "",
        _only_the_baseline,
        {
            "if": {"not": {"anyOf": [_TEACHER, _TAUGHT]}},
            "then": {"properties": {"compare": {"properties": {"baseline": {"const": True}}}}},
        },
        whole=True,
    ),
    Rule("repeated-id", "", _repeated_ids),
    Rule("unknown-teacher", "", _unknown_teachers, whole=True),
    Rule("unnamed-teacher", "", _features_of_several, _FEATURES_OF_ONE, whole=True),
    Rule("not-a-requirement", "", _no_requirements),
    Rule("two-crops", "views", _two_crops, _ONE_CROP),
    Rule("unordered-range", "views", _backward_ranges),
    *SPLIT_RULES,
    *SWEEP_RULES,
    Rule(
        "missing-key",
        "dataset",
        _no_unlabelled,
        {"if": {"required": ["labelled_share"]}, "then": _HAS_UNLABELLED},
        whole=True,
    ),
    Rule("out-of-range", "dataset", _real_count),
    Rule(
        "missing-teacher",
        "",
        _unlabelled_need("a [teacher], which alone speaks of them"),
        {"if": {**_WITH_UNLABELLED, "not": _TAUGHT}, "then": _TEACHER},
        whole=True,
    ),
    Rule(
        "nothing-to-learn",
        "",
        _unlabelled_need("a distillation term with a weight above 0"),
        {
            "if": {**_TAUGHT, "allOf": [_WITH_UNLABELLED, _TEACHER, {"properties": {"loss": {"not": _NO_LABEL_LOSS}}}]},
            "then": {"properties": {"loss": _HAS_WEIGHTY_TERM}},
        },
        whole=True,
    ),
    Rule(
        "out-of-range",
        "",
        _one_image_a_batch,
        {
            "if": _WITH_UNLABELLED,
            "then": {"properties": {"train": {"properties": {"batch_size": {"not": {"const": 1}}}}}},
        },
        whole=True,
    ),
)
