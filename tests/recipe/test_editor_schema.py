"""The schemas as documents: true to their metaschema, described for editors, closed to what is not there."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.plugins import Provider
from kdrecipes.components.registry import Registry, load_registry
from kdrecipes.recipe.editor_schema import composed_schema
from kdrecipes.recipe.structure import structure_schema

SCHEMAS = sorted((Path(__file__).resolve().parents[2] / "schemas").glob("*.json"))


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_every_shipped_schema_is_valid_draft_07(file):
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)


def properties(schema, root, path=""):
    """Every property of every table: where it stands, its schema, and what that refers to; no rules between keys."""
    if isinstance(schema, dict):
        for name, part in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            target = root["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
            yield f"{path}/{name}", part, target
        for key, part in schema.items():
            if key not in ("if", "then", "not", "dependencies", "whole") and not key.startswith("demands."):
                yield from properties(part, root, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from properties(part, root, f"{path}/{index}")


@pytest.fixture(params=["structure", "composed"])
def schema(request, built_ins):
    return structure_schema() if request.param == "structure" else composed_schema(load_registry())


def test_every_property_is_described(schema):
    found = list(properties(schema, schema))
    assert len(found) > 50
    assert [path for path, part, target in found if not (part.get("description") or target.get("description"))] == []


def test_every_table_is_closed_or_a_component():
    """A table of the run's own refuses unknown keys; a component's is closed with its options, in step two."""
    schema = structure_schema()
    components = {"dataset", "teacher", "student", "loss", "term", "callback", "optimizer", "schedule", "term_schedule"}
    for name, part in schema["definitions"].items():
        if part.get("type") == "object":
            assert (part.get("additionalProperties") is False) != (name in components), name


def test_defaults_and_examples_fit_their_own_rules(schema):
    counts = {"default": 0, "examples": 0}
    for path, part, target in properties(schema, schema):
        rule = Draft7Validator({**(target or part), "definitions": schema["definitions"]})
        for key, values in (("default", [part.get("default")]), ("examples", part.get("examples"))):
            for value in values if key in part else ():
                assert [error.message for error in rule.iter_errors(value)] == [], path
                counts[key] += 1
    assert min(counts.values()) > 20, counts


def test_every_default_of_a_builder_is_in_its_options(built_ins):
    """What `build` takes for an option that is left out, editors show."""
    counted = 0
    for component, _ in load_registry().components.values():
        for name, option in recipe_options(component)["properties"].items():
            taken = inspect.signature(component.build).parameters
            default = taken[name].default if name in taken else None
            if default not in (None, inspect.Parameter.empty):
                shown = list(default) if isinstance(default, tuple) else default
                assert option.get("default") == shown, (component.name, name)
                counted += 1
    assert counted > 10


def test_patterns_mean_the_same_to_every_editor(schema):
    r"""`\w` and `\d` take other letters and digits in Python than in JavaScript, and `$` a line break."""

    def patterns(part):
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield part["pattern"]
            part = list(part.values())
        for inner in part if isinstance(part, list) else ():
            yield from patterns(inner)

    found = set(patterns(schema))
    assert found
    assert [pattern for pattern in found if re.search(r"\\[wWdDbB]", pattern) or pattern.endswith("$")] == []


def test_teacher_train_takes_what_train_takes():
    definitions = structure_schema()["definitions"]
    assert set(definitions["teacher_train"]["properties"]) == set(definitions["train"]["properties"])


def test_composed_names_every_component(built_ins):
    registry = load_registry()
    definitions = composed_schema(registry)["definitions"]
    for table, kind in (("dataset", "dataset"), ("teacher", "model"), ("student", "model"), ("callback", "callback")):
        branches = {b["title"]: b for b in definitions[table]["oneOf"] if "name" in b["properties"]}
        assert sorted(branches) == registry.names(kind)
        for name, branch in branches.items():
            assert branch["properties"]["name"] == {
                "const": name,
                "description": registry.components[kind, name][0].summary,
            }
            assert branch["additionalProperties"] is False
    models = definitions["student"]["oneOf"]
    assert not any("classes" in branch["properties"] for branch in models), "the run passes it"
    optimizers = [b["properties"]["name"]["const"] for b in definitions["optimizer"]["oneOf"] if b.get("required")]
    assert optimizers == ["adamw", "adam", "sgd"]


def test_composed_does_not_change_the_structure(built_ins):
    before = json.dumps(structure_schema())
    composed_schema(load_registry())
    assert json.dumps(structure_schema()) == before


def test_composed_keeps_a_components_own_references():
    options = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"wide": {"$ref": "#/definitions/width"}},
        "definitions": {"width": {"type": "integer", "maximum": 4}},
    }
    registry = Registry()
    registry.add(Component("model", "vit", print, options), Provider("p", "d", "1"))
    registry.add(Component("dataset", "d", print), Provider("p", "d", "1"))
    schema = composed_schema(registry)
    Draft7Validator.check_schema(schema)
    recipe = {
        "schema_version": 1,
        "name": "x",
        "dataset": {"name": "d"},
        "student": {"name": "vit", "wide": 4},
        "train": {"epochs": 1},
    }
    assert Draft7Validator(schema).is_valid(recipe)
    recipe["student"] = {"name": "vit", "wide": 5}
    assert not Draft7Validator(schema).is_valid(recipe)
    recipe["student"], recipe["callbacks"] = {"name": "vit"}, [{"name": "none_is_installed"}]
    assert not Draft7Validator(schema).is_valid(recipe)


@pytest.mark.parametrize(
    ("options", "valid"),
    [
        ({}, False),
        ({"a": 1}, False),
        ({"a": 1, "b": 1}, True),
        ({"a": 1, "b": 1, "y_1": 2}, False),
        ({"c": 1}, True),
        ({"a": 1, "b": 1, "c": 1}, False),
    ],
)
def test_composed_keeps_what_a_component_demands_of_its_options(options, valid):
    declared = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"type": "integer"} for name in "abc"},
        "oneOf": [{"required": ["a"]}, {"required": ["c"]}],
        "dependencies": {"a": ["b"]},
    }
    registry = Registry()
    for kind in ("model", "dataset", "callback"):
        registry.add(Component(kind, "it", print, declared), Provider("p", "d", "1"))
    schema = Draft7Validator(composed_schema(registry))
    right = {"name": "it", "c": 1}
    for table in ("student", "dataset", "callbacks"):
        recipe = {"schema_version": 1, "name": "x", "dataset": right, "student": right, "train": {"epochs": 1}}
        recipe[table] = {"name": "it", **options} if table != "callbacks" else [{"name": "it", **options}]
        assert schema.is_valid(recipe) == valid, table


def test_committed_editor_schema_is_what_is_installed():
    """`make schema` writes it: the built-ins and the packages under plugins/, and nothing else that is installed."""
    import tomllib

    plugins = (Path(__file__).resolve().parents[2] / "plugins").glob("*/pyproject.toml")
    ours = {"kdrecipes", *(tomllib.loads(file.read_text())["project"]["name"] for file in plugins)}
    registry = Registry()
    for component, provider in load_registry().components.values():
        if provider.distribution in ours:
            registry.add(component, provider)
    assert ours == {provider.distribution for _, provider in registry.components.values()}
    committed = next(file for file in SCHEMAS if file.name == "recipe.schema.json")
    assert json.loads(committed.read_text(encoding="utf-8")) == composed_schema(registry)
