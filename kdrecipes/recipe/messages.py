"""Words for what is wrong in a recipe: from what a check has found to a sentence, what was received, what was meant.

Pure functions. They speak TOML (table, key), or JSON where the recipe is JSON, and not JSON schema.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from kdrecipes.components.registry import Registry, not_loaded
from kdrecipes.errors import Code
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.structure import (
    Data,
    choices_at,
    definition,
    home_of,
    one_of,
    show,
    structure_schema,
    words_of,
)
from kdrecipes.wording import nearest, printable

NO_CODE = (
    "a recipe names no code, so that running one runs nothing but what is installed; load the file by --plugin {} and "
    "write the name of the component that it yields"
)
NO_TERM = "missing key: which distillation term; `kdrecipes list losses` shows what it can be"
_TOPICS = {"dataset": "datasets", "teacher": "models", "student": "models", "loss": "losses", "callbacks": "callbacks"}

# What each rule of draft-07 about one value asks for.
_ASKED: dict[str, tuple[Code, str]] = {
    "minimum": ("out-of-range", "must be at least {limit}"),
    "maximum": ("out-of-range", "must be at most {limit}"),
    "exclusiveMinimum": ("out-of-range", "must be greater than {limit}"),
    "exclusiveMaximum": ("out-of-range", "must be less than {limit}"),
    "multipleOf": ("out-of-range", "must be a multiple of {limit}"),
    "minLength": ("wrong-length", "must have at least {limit} characters"),
    "maxLength": ("wrong-length", "must have at most {limit} characters"),
    "pattern": ("wrong-form", "must match the pattern {limit}"),
    "minItems": ("wrong-length", "must have at least {limit} {many}"),
    "maxItems": ("wrong-length", "must have at most {limit} {many}"),
    "uniqueItems": ("repeated-entry", "must not repeat an entry"),
    "minProperties": ("wrong-length", "must have at least {limit} {many}"),
    "maxProperties": ("wrong-length", "must have at most {limit} {many}"),
}
_MOST_SEEDS = 20  # a number that is meant as a count of seeds
_CHOICES, _KINDS = ("enum", "const"), ("type", "anyOf", "oneOf")
_BETWEEN_KEYS = ("anyOf", "oneOf", "dependencies", "not", "if")


class Message(NamedTuple):
    """What to say of one place: the fields of a `Problem` that are not about where it is."""

    code: Code
    rule: str
    received: str = ""
    suggestion: str = ""


# ---- values


def escaped_path(value: str) -> Message | None:
    r"""What to say of a path in which `\t` or `\n` was read as an escape, as in "C:\temp"; None of any other."""
    found = re.search("[\b\t\n\f\r\x1b]", value)
    if found is None:
        return None
    escape = {"\x1b": "\\e"}.get(found[0], json.dumps(found[0])[1:-1])
    rule = f"is a path with {escape} in it, a control character in double quotes: write /, or in TOML use single quotes"
    return Message("wrong-form", rule, show(value))


def unfit(error: ValidationError, path: Path, *, is_json: bool) -> Message:
    """What to say of a value that breaks a rule of its schema, other than about which keys it has."""
    schema, value, validator = error.schema, error.instance, str(error.validator)
    received = show(value)
    if "x-rule" in schema:
        meant = retyped(path, schema, value, is_json=is_json)
        typed = validator == "anyOf" and "type" in schema  # a type of its own fits: a gap within the range
        return Message("out-of-range" if typed else _code_of(validator), schema["x-rule"], received, meant)
    if validator in _CHOICES:
        return not_a_choice(value, error.validator_value if validator == "enum" else [error.validator_value])
    if validator in _BETWEEN_KEYS and isinstance(value, dict):
        return Message("broken-rule", _combination(error), received)
    if validator in _KINDS:
        words = words_of(schema).replace("a table", "an object" if is_json else "a table")
        return Message("wrong-type", f"must be {words}", received, retyped(path, schema, value, is_json=is_json))
    return Message(_code_of(validator), _asked(schema, validator, error.validator_value), received)


def _code_of(validator: str) -> Code:
    if validator in _CHOICES:
        return "not-a-choice"
    return "wrong-type" if validator in _KINDS else _ASKED.get(validator, ("broken-rule", ""))[0]


def _asked(schema: Data, validator: str, limit: Any) -> str:
    """What a rule about one value asks for: `must be at least 1`."""
    many = "entry" if limit == 1 else "entries"
    if validator in ("minItems", "maxItems") and schema.get("minItems") == schema.get("maxItems"):
        return f"must have {limit} {many}"
    if validator == "minLength" and limit == 1:
        return "must not be empty"
    if validator in _ASKED:
        return _ASKED[validator][1].format(limit=limit, many=many)
    return f"does not fit the rule {printable(show(validator))} of this option"


def _combination(error: ValidationError) -> str:
    """What a rule about the keys of a table demands, as far as it is about which are there."""
    limit = error.validator_value
    if error.validator == "dependencies":
        needed = [(key, one) for key, ones in limit.items() if key in error.instance for one in ones]
        key, one = next((key, one) for key, one in needed if one not in error.instance)
        return f"`{key}` needs `{one}` beside it"
    sets = [part.get("required") for part in limit] if isinstance(limit, list) else []
    if sets and all(sets):
        how = "must have one of" if error.validator == "anyOf" else "must have exactly one of"
        return f"{how} {', '.join(' with '.join(f'`{key}`' for key in keys) for keys in sets)}"
    return "has keys that do not go together, by the rules of this component"


def retyped(path: Path, schema: Data, value: Any, *, is_json: bool) -> str:
    """The value as it was probably meant, where only its type is wrong: `"5"` for 5, `"adamw"` for a table."""
    kinds = schema.get("type", [part.get("type") for part in schema.get("anyOf", ())])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if isinstance(value, str):
        if "object" in kinds and "name" in schema.get("required", ()) and value:
            return f'{{"name": {show(value)}}}' if is_json else f"{{ name = {show(value)} }}"
        try:
            inner = json.loads(value, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            inner = None
        if Draft7Validator({"type": [k for k in kinds if k in ("integer", "number", "boolean")]}).is_valid(inner):
            # Whether the value is in range too is for its next check.
            return value.strip()
    elif "array" in kinds and isinstance(value, dict) and not is_json:
        return f"[[{show_path(path)}]]"
    elif "array" in kinds and value is not None and not isinstance(value, list):
        count = path[-1] == "seeds" and type(value) is int and 1 < value <= _MOST_SEEDS  # so many, not that one
        return show(list(range(value)) if count else [value])
    return ""


def not_a_choice(value: Any, choices: list[Any]) -> Message:
    """What to say of a value that is none of a closed list."""
    near = nearest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    return Message("not-a-choice", f"must be {one_of(choices)}", show(value), show(near) if near else "")


def unrepresentable(value: Any) -> Message | None:
    """What to say of a key or value that TOML or JSON has no word for; None where there is a word.

    Null, NaN, infinities, dates, numbers over 64 bits, half characters.
    """

    def of(rule: str, received: str) -> Message:
        return Message("not-representable", rule, received)

    if isinstance(value, dict | list | bool):
        return None
    if isinstance(value, str):
        alone = not value.isascii() and re.search("[\ud800-\udfff]", value)
        return of("must be text: a surrogate stands alone in it", show(value)) if alone else None
    if value is None:  # JSON's alone: the two forms of a recipe say the same
        return of("must not be null: leave the key out", "null")
    if isinstance(value, float):
        return None if math.isfinite(value) else of("must be a finite number", str(value))
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else of("must fit into 64 bits", show(value))
    return of("must be a string, number, boolean, array or table; text stands in double quotes", str(value))


# ---- keys


def missing_key(path: Path, schema: Data, *, is_json: bool, extends: bool) -> Message:
    """What to say of a key that is not there.

    Args:
        path: the key's.
        schema: the key's.
        is_json: whether the recipe is JSON.
        extends: whether the recipe extends another.
    """
    key = path[-1]
    target = structure_schema()["definitions"].get(schema.get("$ref", "").removeprefix("#/definitions/"), schema)
    rule = "missing key"
    if target.get("type") == "object":
        rule = "missing object" if is_json else "missing table"
    elif key == "name" and len(path) > 1:
        if choices := choices_at(path[:-1]):
            rule += f"; it is {one_of(list(definition(choices)))}"
        elif path[0] in _TOPICS:
            rule += f"; `kdrecipes list {_TOPICS[str(path[0])]}` shows what it can be"
    elif path == ("name",) and extends:
        rule += ": a recipe that extends another has a name of its own"
    return Message("missing-key", rule)


def meant(path: Path, known: list[str]) -> str:
    """The known key that an unknown one was meant to be; empty where none is near."""
    # A word of another table is rarely a slip for one of this.
    return nearest(str(path[-1]), known, 0.8 if home_of(path) else 0.6)


def unknown_key(path: Path, value: Any, known: list[str]) -> Message:
    """What to say of a key that its table does not know.

    Args:
        path: the key's.
        value: the key's, which may be code.
        known: the keys that its table knows.
    """
    key, near, home = str(path[-1]), meant(path, known), home_of(path)
    code: Code = "unknown-key"
    if path[0] == "loss" and key == "alpha":
        rule = (
            "unknown key, since `alpha` weighs the labels in some papers and the teacher in others; "
            "write label_weight for the labels and weight for the term"
        )
    elif path == ("teachers",):
        return Message(code, "unknown key; each of several teachers is a table [[teacher]]", show(key), show("teacher"))
    elif file := code_in(value, key):
        code, rule = "names-code", f"unknown key: {NO_CODE.format(file)}"
    elif home:
        code, rule = "misplaced-key", f"unknown key here; it belongs in {home}"
    elif near or not known:
        rule = "unknown key" if near else "unknown key (no keys are known here)"
    else:
        rule = f"unknown key (known: {', '.join(sorted(known))})"
    return Message(code, rule, show(key), show(near) if near else "")


def another_key(path: Path) -> Message:
    """What to say, shortly, of a key that its table does not know, where very many are."""
    return Message("unknown-key", "unknown key", show(path[-1]))


def passed_by_run(path: Path, value: Any, kind: str) -> Message:
    """What to say of an option that the run passes to a component of this kind."""
    home = home_of(path) if kind == "model" else ""
    rule = "is set by the run, not by a recipe" + (f"; it belongs in {home}" if home else "")
    return Message("misplaced-key", rule, show(value))


# ---- components


def unknown_component(kind: str, name: str, registry: Registry) -> Message:
    """What to say of a name that no component of this kind has."""
    if file := code_in(name):
        return Message("names-code", f"must be the name of a {kind}: {NO_CODE.format(file)}", show(name))
    near = nearest(name, registry.names(kind))
    details = [] if near else [f"installed: {', '.join(registry.names(kind)) or 'none'}"]
    details += not_loaded(registry)
    rule = f"no installed plugin provides this {kind}" + (f" ({'; '.join(details)})" if details else "")
    return Message("unknown-component", rule, show(name), show(near) if near else "")


def code_in(value: Any, key: str = "") -> str:
    """The file that a value names as code, `FILE.py` for an import path or a key that asks for code; else empty."""
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    files = [text for text in texts if text.endswith(".py")]
    if files:
        return printable(files[0])
    imported = any(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", text) for text in texts)
    return "FILE.py" if imported or key in ("plugin", "plugins", "import", "module", "code") else ""
