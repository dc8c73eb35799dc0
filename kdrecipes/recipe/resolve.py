"""A valid recipe in its resolved form: every default filled in, and the fingerprint of that."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.registry import Registry
from kdrecipes.recipe.structure import component_tables, definition, followed, run_keys, structure_schema

# Keys that are younger than reports whose fingerprints people keep. Their defaults are what was done before there were
# such keys, so a key counts only where it differs from its default.
NEWER_KEYS = (("compare", "margin"),)


def resolve(recipe: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Fill every default of a valid recipe in; numbers declared "number" become floats."""
    data: dict[str, Any] = copy.deepcopy(dict(recipe))
    data.pop("$schema", None)
    root, train = structure_schema(), data["train"]
    fill(train, definition("train"), root)  # before the teacher inherits from it
    teacher_train = data.get("teacher", {}).get("train")
    if teacher_train is not None:
        data["teacher"]["train"] = _inherit(train, teacher_train)
    fill(data, root, root)
    for _, table, kind, value in component_tables(data):
        component = registry.components[kind, value["name"]][0]
        fill(value, {"properties": run_keys(table)}, root)
        fill(value, recipe_options(component), component.options)
    for table in (train, data.get("teacher", {}).get("train")):
        for key, group in (("optimizer", "optimizers"), ("schedule", "schedules")):
            if table is not None:
                fill(table[key], definition(group)[table[key]["name"]], root)
    for table in ("loss", "compare"):
        fill(data.setdefault(table, {}), definition(table), root)
    data["compare"].setdefault("seeds", [data["seed"]])
    return data


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """sha256 (hex) of what a run's result depends on."""
    return hashlib.sha256(json.dumps(counted(resolved), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def counted(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved recipe without its name, words and callbacks, and without newer keys at their defaults."""
    found = {k: v for k, v in resolved.items() if k not in ("name", "description", "callbacks")}
    for table, key in NEWER_KEYS:
        values, default = found.get(table, {}), definition(table)["properties"][key]["default"]
        if isinstance(values, Mapping) and values.get(key) == default:
            found[table] = {k: v for k, v in values.items() if k != key}
    return found


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
