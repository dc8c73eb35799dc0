"""The editor's schema: structure and every installed component composed into one draft-07 document.

Editors complete from `oneOf` with `const`; the validator is two-step instead, since `oneOf` gives misleading messages.
"""

from __future__ import annotations

import copy
from typing import Any

from kdrecipes.registry import Registry, recipe_options
from kdrecipes.validation import structure_schema

_KINDS = {"dataset": "dataset", "teacher": "model", "student": "model", "term": "loss", "callback": "callback"}


def composed_schema(registry: Registry) -> dict[str, Any]:
    """One draft-07 schema of recipes that name the components of `registry`."""
    schema = copy.deepcopy(structure_schema())
    schema["title"] = "kdrecipes recipe"
    definitions = schema["definitions"]
    for group, table in (("optimizers", "optimizer"), ("schedules", "schedule")):
        branches = [
            _branch(name, options, {}, "") for name, options in definitions.pop(group).items()
        ]
        definitions[table] = {"description": definitions[table]["description"], "oneOf": branches}
    term_keys = definitions["term"]["properties"]
    for table, kind in _KINDS.items():
        base = definitions[table]
        branches = []
        for name in registry.names(kind):
            component, _ = registry.components[kind, name]
            branches.append(_branch(name, recipe_options(component), base["properties"], component.summary))
        definitions[table] = {"description": base.get("description", ""), "oneOf": branches or [{"not": {}}]}
    loss = definitions["loss"]
    several = {"type": "object", "additionalProperties": False, "properties": loss["properties"]}
    shared = {key: part for key, part in loss["properties"].items() if key != "terms"}
    one = []
    for name in registry.names("loss"):
        component, _ = registry.components["loss", name]
        one.append(_branch(name, recipe_options(component), {**term_keys, **shared}, component.summary))
    definitions["loss"] = {"description": loss["description"], "oneOf": [*one, several]}
    return schema


def _branch(name: str, options: dict[str, Any], run_keys: dict[str, Any], summary: str) -> dict[str, Any]:
    constant: dict[str, Any] = {"const": name}
    if summary:
        constant["description"] = summary
    properties = {**run_keys, **options.get("properties", {}), "name": constant}
    required = ["name", *options.get("required", [])]
    return {"title": name, "type": "object", "additionalProperties": False, "required": required,
            "properties": properties}  # fmt: skip
