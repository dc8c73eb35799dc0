"""The editor's schema: structure and every installed component composed into one draft-07 document.

Editors complete from `oneOf` with `const`; the validator is two-step instead, since `oneOf` gives misleading messages.
"""

from __future__ import annotations

import copy
from typing import Any

from kdrecipes.contract import recipe_options
from kdrecipes.registry import Registry
from kdrecipes.structure import structure_schema

_KINDS = {"dataset": "dataset", "teacher": "model", "student": "model", "term": "loss", "callback": "callback"}


def composed_schema(registry: Registry) -> dict[str, Any]:
    """One draft-07 schema of recipes that name the components of `registry`."""
    schema = copy.deepcopy(structure_schema())
    schema["title"] = "kdrecipes recipe"
    definitions = schema["definitions"]
    for group, table in (("optimizers", "optimizer"), ("schedules", "schedule")):
        branches = [_branch(name, options, {}, "") for name, options in definitions.pop(group).items()]
        definitions[table] = {"description": definitions[table]["description"], "oneOf": branches}
    options_of: dict[tuple[str, str], dict[str, Any]] = {}
    for (kind, name), (component, _) in sorted(registry.components.items(), key=lambda item: item[0]):
        options_of[kind, name] = _hoist(f"{kind}.{name}", recipe_options(component), definitions)

    def branches_of(kind: str, run_keys: dict[str, Any]) -> list[dict[str, Any]]:
        summaries = {name: registry.components[kind, name][0].summary for name in registry.names(kind)}
        return [_branch(name, options_of[kind, name], run_keys, summary) for name, summary in summaries.items()]

    loss, term_keys = definitions["loss"], definitions["term"]["properties"]
    for table, kind in _KINDS.items():
        base = definitions[table]
        definitions[table] = {"oneOf": branches_of(kind, base["properties"]) or [{"not": {}}]}
        if "description" in base:
            definitions[table]["description"] = base["description"]
    several = {"type": "object", "additionalProperties": False, "properties": loss["properties"]}
    shared = {key: part for key, part in loss["properties"].items() if key != "terms"}
    one = branches_of("loss", {**term_keys, **shared})
    definitions["loss"] = {"description": loss["description"], "oneOf": [*one, several]}
    return schema


def _hoist(label: str, options: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A component's options with the `$ref`s into themselves kept true: what they refer to moves to `definitions`."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: f"#/definitions/{label}{part[1:]}" if key == "$ref" and isinstance(part, str) else rewritten(part)
                for key, part in value.items()
            }
        return [rewritten(part) for part in value] if isinstance(value, list) else value

    options = copy.deepcopy(options)
    hoisted = rewritten(options)
    if hoisted != options:
        definitions[label] = hoisted
    return hoisted


def _branch(name: str, options: dict[str, Any], run_keys: dict[str, Any], summary: str) -> dict[str, Any]:
    constant: dict[str, Any] = {"const": name}
    if summary:
        constant["description"] = summary
    properties = {**run_keys, **options.get("properties", {}), "name": constant}
    required = ["name", *options.get("required", [])]
    return {
        "title": name,
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }
