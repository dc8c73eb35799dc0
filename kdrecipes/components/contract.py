"""What a component must be: the keys it may not claim, the arguments the run passes, a schema that can be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kdrecipes.components.hookspecs import KINDS, Component

# The keys that the run itself reads from a component's table (a component may not claim them) …
RUN_KEYS: dict[str, tuple[str, ...]] = {
    "dataset": (
        "name",
        "train",
        "labelled",
        "unlabelled",
        "labelled_share",
        "validation",
        "stratified",
        "test",
        "image_size",
        "resize",
        "store_size",
        "corrupt_limit",
        "background",
        "max_pixels",
        "views",
    ),
    "teacher": (
        "name",
        "id",
        "weight",
        "copies",
        "seed",
        "image_size",
        "precision",
        "cache",
        "cache_limit_gb",
        "preflight",
        "save",
        "class_names",
        "train",
    ),
    "student": ("name", "image_size"),
    "loss": (
        "name",
        "label_weight",
        "label_smoothing",
        "teachers",
        "terms",
        "weight",
        "teacher",
        "schedule",
        "student_layers",
        "teacher_layers",
        "projector",
    ),
    "callback": ("name",),
}
_TABLES = {
    "model": ("teacher", "student"),
    "dataset": ("dataset",),
    "loss": ("loss",),
    "callback": ("callback",),
    "exporter": (),
}


# … and the arguments that the run passes to `build` where the options declare them.
PASSED_BY_RUN: dict[str, tuple[str, ...]] = {
    "model": ("classes", "image_size"),
    "dataset": ("split",),
    "loss": ("classes", "examples"),
    "callback": ("folder", "arm", "seed"),
    "exporter": (),
}


def recipe_options(component: Component) -> dict[str, Any]:
    """The component's options schema as a recipe sees it: without the names that the run passes."""
    passed = PASSED_BY_RUN[component.kind]
    schema = dict(component.options)
    schema["properties"] = {k: v for k, v in schema.get("properties", {}).items() if k not in passed}
    schema["required"] = [k for k in schema.get("required", []) if k not in passed]
    if not schema["required"]:
        del schema["required"]
    return schema


def check_component(component: Any) -> list[str]:
    """Why a component can't be registered; an empty list when it can."""
    if not isinstance(component, Component):
        return [f"yielded {type(component).__name__}, not a kdrecipes.Component"]
    fatal = _field_problem(component) or _schema_problem(component.options)
    problems = [fatal] if fatal else list(_option_problems(component))
    return [f"{component.kind} {component.name!r}: {problem}" for problem in problems]


def _field_problem(component: Component) -> str:
    """What is wrong with the first of the component's fields that can't be used, or ""."""
    if component.kind not in KINDS:
        return f"kind must be one of {', '.join(KINDS)}. Received: {component.kind!r}"
    if not (isinstance(component.name, str) and re.fullmatch("[A-Za-z0-9._-]+", component.name)):
        return "its name must consist of letters, digits, '.', '_' and '-'"
    if not isinstance(component.summary, str):
        return f"its summary must be a string. Received: {component.summary!r}"
    if not isinstance(component.options, dict):
        return f"its options must be a dict, a draft-07 schema. Received: {component.options!r}"
    if not callable(component.build):
        return f"build must be callable. Received: {component.build!r}"
    return ""


def _schema_problem(options: Mapping[str, Any]) -> str:
    """Why `options` is no schema that can be written as JSON, or ""."""
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft7Validator.check_schema(options)
    except SchemaError as error:
        return f"its options are no draft-07 schema: {error.message}"
    try:
        json.dumps(options, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"its options can't be written as JSON: {error}"
    return ""


def _option_problems(component: Component) -> Iterator[str]:
    """What in a valid schema the run can't use, or would have to share with a component."""
    options, passed = component.options, PASSED_BY_RUN[component.kind]
    if options.get("additionalProperties") is not False:
        yield 'its options need "additionalProperties": false'
    if "patternProperties" in options:
        yield 'its options must stand in "properties" by name; patternProperties reach no builder'
    if "$ref" in options:  # draft-07 ignores what stands beside it
        yield 'its options must stand in "properties" themselves; a $ref in their place hides them'
    for key in ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependencies"):
        words = json.dumps(options.get(key, ""))
        if named := [name for name in passed if f'"{name}"' in words]:
            yield f"{key!r} in its options is about {named[0]!r}, which the run passes"
    reserved = {key for table in _TABLES[component.kind] for key in RUN_KEYS[table]} - set(passed)
    for key, schema in options.get("properties", {}).items():
        if not isinstance(schema, dict):
            yield f"its option {key!r} needs a schema. Received: {schema!r}"
        if key in reserved:
            yield f"its option {key!r} is one of the run's own keys"
    for ref in _bad_refs(options):
        yield f"{ref!r} in its options points to nothing in them"


def undescribed(component: Component) -> list[str]:
    """Options without a description: unusual, never fatal."""
    properties = recipe_options(component)["properties"]
    return sorted(name for name, schema in properties.items() if not schema.get("description"))


def _bad_refs(options: Mapping[str, Any]) -> Iterable[str]:
    """The `$ref`s that lead out of `options` or nowhere."""

    def leads_somewhere(ref: str) -> bool:
        target: Any = options
        for part in ref.removeprefix("#").split("/")[1:]:
            target = target.get(part) if isinstance(target, dict) else None
        return ref.startswith("#/") and isinstance(target, dict) and "$ref" not in target

    def walk(schema: Any) -> Iterable[str]:
        if isinstance(schema, dict):
            if isinstance(ref := schema.get("$ref"), str) and not leads_somewhere(ref):
                yield ref
            for value in schema.values():
                yield from walk(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from walk(value)

    return walk(options)
