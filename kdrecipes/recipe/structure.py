"""The recipe's structure: its hand-written schema, the tables that name components, and the words of messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from kdrecipes.recipe.positions import Path
from kdrecipes.wording import printable

Data = dict[str, Any]

TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "object": "a table",
    "array": "an array",
    "null": "null",
}
# Optimisers and schedules are short closed lists, whose options stand under these names of the schema.
CLOSED_LISTS = {"optimizer": "optimizers", "schedule": "schedules"}
_LONGEST_REQUIREMENT = 200  # characters
TERM_SCHEDULES = "term_schedules"  # those of a term's `schedule`, which changes its weight


@cache
def structure_schema() -> Data:
    """The hand-written schema of step one."""
    text = (resources.files("kdrecipes.schemas") / "structure.schema.json").read_text(encoding="utf-8")
    schema: Data = json.loads(text)
    return schema


def followed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with its `$ref` into `root` followed; what stands beside the `$ref` counts before what it refers to."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: part for key, part in schema.items() if key != "$ref"}}
    return schema


def definition(name: str) -> Data:
    """One definition of the structure schema."""
    found: Data = structure_schema()["definitions"][name]
    return found


def show(value: Any) -> str:
    """A received value as it stands in a recipe, on one line, shortened."""
    try:
        text = printable(json.dumps(value, ensure_ascii=False, default=str))
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "…"


def parse_requirement(text: Any) -> Any:
    """The `packaging` requirement that an entry of `requires` states, or None: a distribution, perhaps its versions."""
    from packaging.requirements import InvalidRequirement, Requirement

    if isinstance(text, str) and len(text) > _LONGEST_REQUIREMENT:  # the parser's time grows with its square
        return None
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, TypeError):
        return None
    # A URL or a condition is nothing that a recipe should make people install by copying a line.
    return None if requirement.url or requirement.marker else requirement


def teacher_tables(data: Data) -> list[tuple[Path, Data]]:
    """`[teacher]`, or each of `[[teacher]]`, with its path; what is no table is left out."""
    found = data.get("teacher")
    if isinstance(found, list):
        return [(("teacher", i), table) for i, table in enumerate(found) if isinstance(table, dict)]
    return [(("teacher",), found)] if isinstance(found, dict) else []


def term_tables(data: Data) -> list[tuple[Path, Data]]:
    """Each of `[[loss.terms]]`, else `[loss]` itself, with its path; what is no table is left out."""
    loss = data.get("loss")
    if not isinstance(loss, dict):
        return []
    if "terms" not in loss:
        return [(("loss",), loss)]
    terms = loss["terms"] if isinstance(loss["terms"], list) else []
    return [(("loss", "terms", i), term) for i, term in enumerate(terms) if isinstance(term, dict)]


def component_tables(data: Data) -> Iterator[tuple[Path, str, str, Data]]:
    """Every table that names a component: its path, the table's definition, the component's kind, the table."""
    if isinstance(data.get("dataset"), dict):
        yield ("dataset",), "dataset", "dataset", data["dataset"]
    for path, table in teacher_tables(data):
        yield path, "teacher", "model", table
    if isinstance(data.get("student"), dict):
        yield ("student",), "student", "model", data["student"]
    loss = data.get("loss")
    if isinstance(loss, dict):
        if "name" in loss:
            yield ("loss",), "loss", "loss", loss
        for i, term in enumerate(loss["terms"] if isinstance(loss.get("terms"), list) else []):
            if isinstance(term, dict):
                yield ("loss", "terms", i), "term", "loss", term
    callbacks = data.get("callbacks")
    for i, table in enumerate(callbacks if isinstance(callbacks, list) else []):
        if isinstance(table, dict):
            yield ("callbacks", i), "callback", "callback", table


def run_keys(table: str) -> Data:
    """The run's own keys of one component table, with their schemas."""
    if table == "loss":  # one term written directly into [loss]
        return {**definition("term")["properties"], **definition("loss")["properties"]}
    keys: Data = definition(table)["properties"]
    return keys


def choices_at(path: Path) -> str:
    """The definition that holds what a table of a closed list can be; empty for any other table."""
    if not path or path[-1] not in CLOSED_LISTS:
        return ""
    return TERM_SCHEDULES if path[0] == "loss" else CLOSED_LISTS[str(path[-1])]


def one_of(choices: list[Any]) -> str:
    """`"a"`, `"a" or "b"`, `one of "a", "b", "c"`."""
    shown = [show(choice) for choice in choices]
    return " or ".join(shown) if len(shown) < 3 else f"one of {', '.join(shown)}"


def words_of(schema: Data) -> str:
    """What a value must be, in words: `a number`, `a string or null`, `"none" or a string`."""
    if "enum" in schema or "const" in schema:
        return one_of(schema.get("enum", [schema.get("const")]))
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return " or ".join(TYPES[kind] for kind in kinds)
    return " or ".join(words_of(part) for part in schema.get("anyOf") or schema.get("oneOf") or ()) or "another value"


def home_of(path: Path) -> str:
    """The table that a key of the run belongs in, for a key that stands elsewhere; empty where there is none."""
    definitions = structure_schema()["definitions"]
    parent, key = tuple(part for part in path[:-1] if isinstance(part, str)), path[-1]
    train = "teacher.train" if parent[:2] == ("teacher", "train") else "train"
    # Who writes `schedule` in a wrong place rather means the learning rate's.
    term = {key: part for key, part in definitions["term"]["properties"].items() if key != "schedule"}
    tables = [("", structure_schema()), ("loss", {"properties": term})]
    own = ("dataset", "teacher", "student", "loss", "train", "compare", "report", "sweep")
    tables += [(name, definitions[name]) for name in own]
    tables += [("dataset.views", definitions["views"])]
    for group in CLOSED_LISTS:
        tables += [(f"{train}.{group}", options) for options in definitions[CLOSED_LISTS[group]].values()]
    tables += [("loss.schedule", options) for options in definitions[TERM_SCHEDULES].values()]
    for name, table in tables:
        if key != "name" and key in table["properties"] and tuple(name.split(".")) != parent:
            return f"[{name}]" if name else "the recipe's root"
    return ""
