"""A valid recipe in its resolved form: every default filled in, and the fingerprint of that."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.registry import Registry
from kdrecipes.recipe.structure import (
    CLOSED_LISTS,
    TERM_SCHEDULES,
    component_tables,
    definition,
    followed,
    run_keys,
    structure_schema,
    teacher_tables,
    term_tables,
)

# Keys that are younger than reports whose fingerprints people keep. Their defaults are what was done before there were
# such keys, so a key counts only where it differs from its default.
NEWER_KEYS = (
    ("compare", "margin"),
    ("teacher", "weight"),
    ("teacher", "copies"),
    ("teacher", "save"),
    ("loss", "teachers"),
    ("dataset", "background"),
    ("dataset", "max_pixels"),
    ("dataset", "stratified"),
)

_CONSTANT = {"name": "constant"}


def resolve(recipe: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Fill every default of a valid recipe in; numbers declared "number" become floats."""
    data: dict[str, Any] = copy.deepcopy(dict(recipe))
    data.pop("$schema", None)
    root, train = structure_schema(), data["train"]
    fill(train, definition("train"), root)  # before the teacher inherits from it
    teachers = [table for _, table in teacher_tables(data)]
    for teacher in teachers:
        if "train" in teacher:
            teacher["train"] = _inherit(train, teacher["train"])
    fill(data, root, root)
    for _, table, kind, value in component_tables(data):
        component = registry.components[kind, value["name"]][0]
        fill(value, {"properties": run_keys(table)}, root)
        fill(value, recipe_options(component), component.options)
    for training in (train, *(teacher["train"] for teacher in teachers if "train" in teacher)):
        for key, group in CLOSED_LISTS.items():
            fill(training[key], definition(group)[training[key]["name"]], root)
    for _, term in term_tables(data):
        if "schedule" in term:
            fill(term["schedule"], definition(TERM_SCHEDULES)[term["schedule"]["name"]], root)
    for table in ("loss", "compare", "report"):
        fill(data.setdefault(table, {}), definition(table), root)
    data["compare"].setdefault("seeds", [data["seed"]])
    return data


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """sha256 (hex) of what a run's result depends on."""
    return hashlib.sha256(json.dumps(counted(resolved), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def counted(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved recipe without its name, words, callbacks, report and sweep, and without newer keys at defaults.

    A list of one teacher counts as that teacher. How often a training saves its state counts nowhere.
    """
    found = {k: v for k, v in resolved.items() if k not in ("name", "description", "callbacks", "report", "sweep")}
    for table, key in NEWER_KEYS:
        if table in found:
            found[table] = _without(found[table], key, definition(table)["properties"][key]["default"])
    if isinstance(loss := found.get("loss"), Mapping):  # a schedule that changes nothing counts as none
        terms = {"terms": _without(loss["terms"], "schedule", _CONSTANT)} if "terms" in loss else {}
        found["loss"] = {**_without(loss, "schedule", _CONSTANT), **terms}
    if isinstance(train := found.get("train"), Mapping):
        found["train"] = trained_alike(train)
    teacher = _trained_alike(found.get("teacher"))
    if teacher is not None:
        found["teacher"] = teacher
    return {**found, "teacher": teacher[0]} if isinstance(teacher, list) and len(teacher) == 1 else found


def trained_alike(train: Mapping[str, Any]) -> dict[str, Any]:
    """`[train]` or `[teacher.train]` without the key that no result depends on."""
    return {key: value for key, value in train.items() if key != "save_every_seconds"}


def _trained_alike(teacher: Any) -> Any:
    if isinstance(teacher, list):
        return [_trained_alike(one) for one in teacher]
    if isinstance(teacher, Mapping) and isinstance(teacher.get("train"), Mapping):
        return {**teacher, "train": trained_alike(teacher["train"])}
    return teacher


def _without(found: Any, key: str, default: Any) -> Any:
    """A table, or each of a list, without a key at its default."""
    if isinstance(found, list):
        return [_without(one, key, default) for one in found]
    return {k: v for k, v in found.items() if (k, v) != (key, default)} if isinstance(found, Mapping) else found


def _inherit(train: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`[teacher.train]` over `[train]`; a table that names the same thing is completed key by key."""
    merged = {**copy.deepcopy(dict(train)), **own}
    for key in ("optimizer", "schedule"):
        if key in own and key in train and own[key].get("name") == train[key].get("name"):
            merged[key] = {**train[key], **own[key]}
    return merged


def fill(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Add the defaults of `schema` to `value` in place and return it in its resolved form."""
    schema = followed(schema, root)
    if isinstance(value, dict):
        for key, part in schema.get("properties", {}).items():
            default = _default(part, root)
            if key not in value and default is not None:
                value[key] = copy.deepcopy(default)
            if key in value:
                value[key] = fill(value[key], part, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        value[:] = [fill(item, schema["items"], root) for item in value]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        kinds = [schema.get("type"), *(part.get("type") for part in schema.get("anyOf", ()))]
        if "number" in kinds and not ("integer" in kinds and isinstance(value, int)):
            return float(value)
        if "integer" in kinds:
            return int(value)  # draft-07 takes 5.0 for a whole number; a count is written 5
    return value


def _default(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    name = schema.get("$ref", "").removeprefix("#/definitions/")
    return root["definitions"][name].get("default") if name in root.get("definitions", {}) else None
