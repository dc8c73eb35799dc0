"""Two-step validation: the recipe's structure, then each named component's own options; all problems at once.

Speaks TOML (table, key), not JSON schema. Imports neither torch nor keras.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from kdrecipes.components.contract import PASSED_BY_RUN, recipe_options
from kdrecipes.components.registry import Registry, not_loaded
from kdrecipes.errors import EnvironmentProblem, Problem, one_line
from kdrecipes.recipe import rules as relations
from kdrecipes.recipe.extends import Places
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.structure import (
    CLOSED_LISTS,
    Data,
    component_tables,
    definition,
    home_of,
    one_of,
    run_keys,
    show,
    structure_schema,
    words_of,
)
from kdrecipes.wording import nearest, printable

NO_CODE = (
    "a recipe names no code, so that running one runs nothing but what is installed; load the file by --plugin {} and "
    "write the name of the component that it yields"
)
_TOPICS = {"dataset": "datasets", "teacher": "models", "student": "models", "loss": "losses", "callbacks": "callbacks"}


class Checker:
    """Collects the problems of one recipe. `check` is the whole of it.

    One mistake gives one problem: each path is reported once, and a key that is missing because a neighbour misspells
    it is not reported on top of the misspelling.
    """

    def __init__(self, data: Data, places: Places, file: str, registry: Registry, overrides: dict[Path, str]):
        self.data, self.places, self.file, self.registry, self.overrides = data, places, file, registry, overrides
        self.problems: list[Problem] = []
        self.missing: list[tuple[Path, Data]] = []
        self.meant: set[Path] = set()  # what misspelled keys were meant to be
        self.told: set[Path] = set()
        self.is_json = file.endswith(".json")

    def check(self) -> list[Problem]:
        """All problems, in file order."""
        self.schema((), self.data, structure_schema())
        for path, table, kind, value in list(component_tables(self.data)):
            self.component(path, table, kind, value)
        for path in (("train",), ("teacher", "train")):
            self.closed_lists(path, self.get(path))
        relations.check(self)
        for path, schema in self.missing:
            if path not in self.meant:
                self.report(path, self.missing_rule(path, schema))
        return sorted(self.problems, key=lambda p: (p.file != self.file, p.line or 10**9, p.column))

    def get(self, path: Path) -> Any:
        value: Any = self.data
        for part in path:
            value = value.get(part) if isinstance(value, dict) and isinstance(part, str) else None
        return value

    def has(self, *path: str) -> bool:
        """Whether a key stands there, be it misspelled."""
        parent = self.get(path[:-1])
        return path in self.meant or (isinstance(parent, dict) and path[-1] in parent)

    def problem(self, path: Path, rule: str, received: str = "", suggestion: str = "") -> Problem:
        """A problem in the place of `path`, or of the `--set` that wrote it; what is not there: of its table."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.overrides:
                option = f"--set {self.overrides[path[:depth]]}"
                return Problem(printable(option), 0, 0, show_path(path), rule, received, suggestion)
        file, line, column = self.file, 1, 1
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.places:
                file, line, column, _ = self.places[path[:depth]]
                break
        return Problem(file, line, column, show_path(path), rule, received, suggestion)

    def report(self, path: Path, rule: str, received: str = "", suggestion: str = "") -> None:
        """Add a problem at `path`, unless there is one; a path that is not in the file points at its table."""
        if path not in self.told:
            self.told.add(path)
            self.problems.append(self.problem(path, rule, received, suggestion))

    def schema(self, base: Path, value: Any, schema: Data, extra: tuple[str, ...] = ()) -> None:
        """Check one value against one schema and translate what jsonschema finds."""
        for error in Draft7Validator(schema).iter_errors(value):
            self.translate(base, error, extra)

    def translate(self, base: Path, error: ValidationError, extra: tuple[str, ...]) -> None:
        path: Path = (*base, *error.absolute_path)
        schema, limit, value = error.schema, error.validator_value, error.instance
        received = show(value)
        if error.validator == "additionalProperties" and limit is False:
            known = [*schema.get("properties", {}), *extra]
            for key in value:
                if key not in schema.get("properties", {}):
                    self.unknown_key((*path, key), known)
        elif error.validator == "required":
            for key in limit:
                if key not in value:
                    self.missing.append(((*path, key), schema.get("properties", {}).get(key, {})))
        elif "x-rule" in schema:
            self.report(path, schema["x-rule"], received, self.retyped(path, schema, value))
        elif error.validator in ("enum", "const"):
            choices = limit if error.validator == "enum" else [limit]
            near = nearest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
            self.report(path, f"must be {one_of(choices)}", received, show(near) if near else "")
        elif error.validator in ("anyOf", "oneOf", "dependencies", "not", "if") and isinstance(value, dict):
            self.report(path, combination(error), received)
        elif error.validator in ("type", "anyOf", "oneOf"):
            words = words_of(schema).replace("a table", "an object" if self.is_json else "a table")
            self.report(path, f"must be {words}", received, self.retyped(path, schema, value))
        else:
            exactly = error.validator in ("minItems", "maxItems") and schema.get("minItems") == schema.get("maxItems")
            many = "entry" if limit == 1 else "entries"
            rules = {
                "minimum": f"must be at least {limit}",
                "maximum": f"must be at most {limit}",
                "exclusiveMinimum": f"must be greater than {limit}",
                "exclusiveMaximum": f"must be less than {limit}",
                "multipleOf": f"must be a multiple of {limit}",
                "minLength": "must not be empty" if limit == 1 else f"must have at least {limit} characters",
                "maxLength": f"must have at most {limit} characters",
                "pattern": f"must match the pattern {limit}",
                "minItems": f"must have at least {limit} {many}",
                "maxItems": f"must have at most {limit} {many}",
                "uniqueItems": "must not repeat an entry",
                "minProperties": f"must have at least {limit} {many}",
                "maxProperties": f"must have at most {limit} {many}",
            }
            fallback = f"does not fit the rule {printable(show(error.validator))} of this option"
            rule = rules.get(str(error.validator), fallback)
            self.report(path, f"must have {limit} {many}" if exactly else rule, received)

    def retyped(self, path: Path, schema: Data, value: Any) -> str:
        """The value as it was probably meant, where only its type is wrong: `"5"` for 5, `"adamw"` for a table."""
        kinds = schema.get("type", [part.get("type") for part in schema.get("anyOf", ())])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if isinstance(value, str):
            if "object" in kinds and "name" in schema.get("required", ()) and value:
                return f'{{"name": {show(value)}}}' if self.is_json else f"{{ name = {show(value)} }}"
            try:
                inner = json.loads(value, parse_constant=lambda _: None)
            except (ValueError, RecursionError):
                inner = None
            if Draft7Validator({"type": [k for k in kinds if k in ("integer", "number", "boolean")]}).is_valid(inner):
                # Whether the value is in range too is for its next check.
                return value.strip()
        elif "array" in kinds and isinstance(value, dict) and not self.is_json:
            return f"[[{show_path(path)}]]"
        elif "array" in kinds and value is not None and not isinstance(value, list):
            return f"[{show(value)}]"
        return ""

    def missing_rule(self, path: Path, schema: Data) -> str:
        """What to say of a key that is not there."""
        key = path[-1]
        target = structure_schema()["definitions"].get(schema.get("$ref", "").removeprefix("#/definitions/"), schema)
        if target.get("type") == "object":
            return "missing object" if self.is_json else "missing table"
        if path == ("loss", "name"):
            return "missing key: which distillation term; `kdrecipes list losses` shows what it can be"
        if key == "name" and len(path) > 1:
            if path[-2] in CLOSED_LISTS:
                return f"missing key; it is {one_of(list(definition(CLOSED_LISTS[str(path[-2])])))}"
            if path[0] in _TOPICS:
                return f"missing key; `kdrecipes list {_TOPICS[str(path[0])]}` shows what it can be"
        if path == ("name",) and ("extends",) in self.places:
            return "missing key: a recipe that extends another has a name of its own"
        return "missing key"

    def unknown_key(self, path: Path, known: list[str]) -> None:
        key = str(path[-1])
        home = home_of(path)
        near = nearest(key, known, 0.8 if home else 0.6)  # a word of another table is rarely a slip for one of this
        if near:
            self.meant.add((*path[:-1], near))
        if path[0] == "loss" and key == "alpha":
            rule = (
                "unknown key, since `alpha` weighs the labels in some papers and the teacher in others; "
                "write label_weight for the labels and weight for the term"
            )
        elif code := code_in(self.get(path), key):
            rule = f"unknown key: {NO_CODE.format(code)}"
        elif home:
            rule = f"unknown key here; it belongs in {home}"
        elif near or not known:
            rule = "unknown key" if near else "unknown key (no keys are known here)"
        else:
            rule = f"unknown key (known: {', '.join(sorted(known))})"
        self.report(path, rule, show(key), show(near) if near else "")

    def component(self, path: Path, table: str, kind: str, value: Data) -> None:
        keys = run_keys(table)
        if "name" not in value and (near := nearest("name", [key for key in value if key not in keys])):
            self.unknown_key((*path, near), ["name"])
        name = value.get("name")
        if not isinstance(name, str) or not name:
            return  # step one has said so
        component = self.registry.get(kind, name)
        if component is None:
            if code := code_in(name):
                self.report((*path, "name"), f"must be the name of a {kind}: {NO_CODE.format(code)}", show(name))
                return
            near = nearest(name, self.registry.names(kind))
            details = [] if near else [f"installed: {', '.join(self.registry.names(kind)) or 'none'}"]
            details += not_loaded(self.registry)
            rule = f"no installed plugin provides this {kind}" + (f" ({'; '.join(details)})" if details else "")
            self.report((*path, "name"), rule, show(name), show(near) if near else "")
            return
        options = {key: option for key, option in value.items() if key not in keys}
        for key in PASSED_BY_RUN[kind]:
            if key in options:
                home = home_of((*path, key)) if kind == "model" else ""
                rule = "is set by the run, not by a recipe" + (f"; it belongs in {home}" if home else "")
                self.report((*path, key), rule, show(options.pop(key)))
        # A reserved key whose work has not landed is refused as unknown, whatever the component would take.
        try:
            self.schema(path, options, recipe_options(component), extra=tuple(keys))
        except Exception as error:  # a reference that leads nowhere, a pattern that is none
            owner = self.registry.provider(kind, name)
            text = f"The options schema of the {kind} {name!r} ({owner}) can't be used: {one_line(error)}"
            raise EnvironmentProblem(text) from error

    def closed_lists(self, path: Path, train: Any) -> None:
        """Optimisers and schedules: short closed lists with options of their own."""
        for key, group in CLOSED_LISTS.items():
            table = train.get(key) if isinstance(train, dict) else None
            if not isinstance(table, dict) or not isinstance(table.get("name"), str):
                continue
            choices = definition(group)
            if table["name"] not in choices:
                near = nearest(table["name"], choices)
                rule = f"must be {one_of(list(choices))}"
                self.report((*path, key, "name"), rule, show(table["name"]), show(near) if near else "")
                continue
            # The definitions refer to each other, so they travel along.
            schema = {**choices[table["name"]], "definitions": structure_schema()["definitions"]}
            self.schema((*path, key), {k: v for k, v in table.items() if k != "name"}, schema, extra=("name",))


def code_in(value: Any, key: str = "") -> str:
    """The file that a value names as code, `FILE.py` for an import path or a key that asks for code; else empty."""
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    files = [text for text in texts if text.endswith(".py")]
    if files:
        return printable(files[0])
    imported = any(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", text) for text in texts)
    return "FILE.py" if imported or key in ("plugin", "plugins", "import", "module", "code") else ""


def combination(error: ValidationError) -> str:
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
