"""The editor's schema: structure, rules between keys and every installed component as one draft-07 document.

Editors complete from `oneOf` with `const`; the validator is two-step instead, since `oneOf` gives misleading messages.
A recipe with `extends` completes another one, so what a table must have is demanded only of a recipe without it: those
demands are one definition, `whole`.
"""

from __future__ import annotations

import copy
from typing import Any

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.hookspecs import NAMED_BY_RECIPES
from kdrecipes.components.losses.taken_layers import declared_layers
from kdrecipes.components.registry import Registry
from kdrecipes.recipe.rules import RULES
from kdrecipes.recipe.structure import CLOSED_LISTS, TERM_SCHEDULES, structure_schema

Schema = dict[str, Any]

_TABLES = {"dataset": "dataset", "teacher": "model", "student": "model"}
_LISTED = {"term": "loss", "callback": "callback"}  # `extends` takes a list as a whole, so these are always complete
# What a component may say of its options beside the options themselves.
_DEMANDS = ("required", "dependencies", "allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_NAMED: Schema = {"required": ["name"]}


def composed_schema(registry: Registry) -> Schema:
    """One draft-07 schema of recipes that name the components of `registry`."""
    schema = copy.deepcopy(structure_schema())
    schema["title"] = "kdrecipes recipe"
    definitions = schema["definitions"]
    options_of: dict[str, dict[str, Schema]] = {kind: {} for kind in NAMED_BY_RECIPES}
    for (kind, name), (component, _) in sorted(registry.components.items(), key=lambda item: item[0]):
        if kind not in options_of:
            continue
        options_of[kind][name] = _hoist(f"{kind}.{name}", recipe_options(component), definitions)

    _offer_components(definitions, options_of, registry)
    definitions["teachers"] = _teachers(definitions["teachers"])
    for kind in NAMED_BY_RECIPES:
        definitions[f"demands.{kind}"] = _demands(kind, options_of[kind], registry)
    definitions["demands.teacher"] = _whole_teacher()
    words = "What a term's schedule must have that completes no other one."
    definitions["demands.schedule"] = {"description": words, "properties": {"schedule": _NAMED}}
    for table in {rule.table: None for rule in RULES if rule.table}:
        if fragments := _fragments(table, whole=False):
            definitions[table]["allOf"] = [*definitions[table].get("allOf", ()), *fragments]
    definitions["whole"] = _whole(schema["required"], definitions["train"].pop("required"))
    schema["required"] = ["name"]
    return schema | {"if": {"not": {"required": ["extends"]}}, "then": {"$ref": "#/definitions/whole"}}


def _offer_components(definitions: Schema, options_of: dict[str, dict[str, Schema]], registry: Registry) -> None:
    """Make each table that names a component a choice between the components of its kind, each with its options."""

    def branches_of(kind: str, run_keys: Schema) -> list[Schema]:
        summaries = {name: registry.components[kind, name][0].summary for name in options_of[kind]}
        return [_branch(name, options, run_keys, summaries[name]) for name, options in options_of[kind].items()]

    loss, term_keys = definitions["loss"], definitions["term"]["properties"]
    for table, group in {**CLOSED_LISTS, "term_schedule": TERM_SCHEDULES}.items():
        choices = definitions.pop(group)
        branches = [_branch(name, options, {}, options["description"]) for name, options in choices.items()]
        definitions[table] = _choice(definitions[table], [*branches, _unnamed({})])
    for table, kind in _TABLES.items():
        run_keys = definitions[table]["properties"]
        definitions[table] = _choice(definitions[table], [*branches_of(kind, run_keys), _unnamed(run_keys)])
    for table, kind in _LISTED.items():
        branches = branches_of(kind, definitions[table]["properties"])
        definitions[table] = {**_choice(definitions[table], branches), "allOf": [_reference(kind)]}
    definitions["term"]["allOf"].append(_reference("schedule"))
    shared = {key: part for key, part in loss["properties"].items() if key != "terms"}
    named = branches_of("loss", {**term_keys, **shared})
    definitions["loss"] = _choice(loss, [*named, _unnamed({**term_keys, **loss["properties"]})])


def _teachers(table: Schema) -> Schema:
    """One table or several: editors complete from `oneOf`. Those of a list are complete, as in `_LISTED`."""
    several = table["then"]
    complete = {**several, "items": {"allOf": [several["items"], _reference("teacher")]}}
    return {"description": table["description"], "oneOf": [table["else"], complete]}


def _whole_teacher() -> Schema:
    train = {"properties": dict.fromkeys(CLOSED_LISTS, _NAMED)}
    text = "What a teacher must have that completes no other one."
    return {"description": text, **_NAMED, "allOf": [_reference("model")], "properties": {"train": train}}


def _whole(root: list[str], train: list[str]) -> Schema:
    """What a recipe must have that completes no other one: keys, and the rules between them."""
    closed_lists = {"properties": dict.fromkeys(CLOSED_LISTS, _NAMED)}
    rules = {
        "dataset": {**_NAMED, "allOf": [_reference("dataset"), *_fragments("dataset", whole=True)]},
        "student": {**_NAMED, "allOf": [_reference("model")]},
        "teacher": _reference("teacher"),
        "train": {"required": train, **closed_lists},
        "loss": {"allOf": [_reference("loss"), _reference("schedule"), *_fragments("loss", whole=True)]},
    }
    return {
        "description": "What a recipe without `extends` must have.",
        "required": root,
        "properties": rules,
        "allOf": _fragments("", whole=True),
    }


def _fragments(table: str, *, whole: bool) -> list[Schema]:
    """The rules between the keys of a table as draft-07, those that a recipe with `extends` may break or the others."""
    return [rule.fragment for rule in RULES if rule.fragment and (rule.table, rule.whole) == (table, whole)]


def _reference(kind: str) -> Schema:
    return {"$ref": f"#/definitions/demands.{kind}"}


def _demands(kind: str, options_of: dict[str, Schema], registry: Registry) -> Schema:
    """What the components of one kind demand of a table that names them."""
    demands = {name: {k: options[k] for k in _DEMANDS if k in options} for name, options in options_of.items()}
    for name, demand in demands.items():
        if layers := declared_layers(registry.components[kind, name][0].build):
            demand["allOf"] = [*demand.get("allOf", ()), layers.fragment()]
    rules = [
        {"if": {**_NAMED, "properties": {"name": {"const": name}}}, "then": demand}
        for name, demand in demands.items()
        if demand
    ]
    text = f"Which options a {kind} can't do without" + (", and which layers it reads." if kind == "loss" else ".")
    return {"description": text, "allOf": rules} if rules else {"description": text}


def _choice(table: Schema, branches: list[Schema]) -> Schema:
    described = {"description": table["description"]} if "description" in table else {}
    return {**described, "oneOf": branches or [{"not": {}}]}


def _unnamed(run_keys: Schema) -> Schema:
    """A table whose component the recipe in `extends` names, so that its options can't be known here."""
    properties = {key: part for key, part in run_keys.items() if key != "name"}
    return {"title": "completes a table of `extends`", "type": "object", "not": _NAMED, "properties": properties}


def _hoist(label: str, options: Schema, definitions: Schema) -> Schema:
    """A component's options with the `$ref`s into themselves kept true: what they refer to moves to `definitions`."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: f"#/definitions/{label}{part[1:]}" if key == "$ref" and isinstance(part, str) else rewritten(part)
                for key, part in value.items()
            }
        return [rewritten(part) for part in value] if isinstance(value, list) else value

    options = copy.deepcopy(options)
    hoisted: Schema = rewritten(options)
    if hoisted != options:
        definitions[label] = hoisted
    return hoisted


def _branch(name: str, options: Schema, run_keys: Schema, summary: str) -> Schema:
    constant: Schema = {"const": name}
    if summary:
        constant["description"] = summary
    return {
        "title": name,
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {**run_keys, **options.get("properties", {}), "name": constant},
    }
