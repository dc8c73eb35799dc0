"""Two-step validation: the recipe's structure, then each named component's own options; all problems at once.

Speaks TOML (table, key), not JSON schema. Imports neither torch nor keras.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from kdrecipes.errors import Problem
from kdrecipes.positions import Path, Positions, show_path
from kdrecipes.registry import PASSED_BY_RUN, RUN_KEYS, Registry, nearest, recipe_options, unknown_component

Data = dict[str, Any]
Report = Callable[..., None]

_TYPES = {
    "integer": "a whole number", "number": "a number", "string": "a string", "boolean": "true or false",
    "object": "a table", "array": "an array", "null": "null",
}  # fmt: skip
_CLOSED = {"optimizer": "optimizers", "schedule": "schedules"}


@cache
def structure_schema() -> Data:
    """The hand-written schema of step one."""
    text = (resources.files("kdrecipes.schemas") / "structure.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def definition(name: str) -> Data:
    """One definition of the structure schema."""
    return structure_schema()["definitions"][name]


def show(value: Any) -> str:
    """A received value as it stands in a recipe, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def component_tables(data: Data) -> Iterator[tuple[Path, str, str, Data]]:
    """Every table that names a component: its path, the table's definition, the component's kind, the table."""
    for key, kind in (("dataset", "dataset"), ("teacher", "model"), ("student", "model")):
        if isinstance(data.get(key), dict):
            yield (key,), key, kind, data[key]
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
    return definition(table)["properties"]


class Checker:
    """Collects the problems of one recipe. `check` is the whole of it."""

    def __init__(self, data: Data, positions: Positions, file: str, registry: Registry, overrides: dict[Path, str]):
        self.data, self.positions, self.file, self.registry, self.overrides = data, positions, file, registry, overrides
        self.problems: list[Problem] = []

    def check(self) -> list[Problem]:
        """All problems, in file order."""
        self.schema((), self.data, structure_schema())
        for path, table, kind, value in list(component_tables(self.data)):
            self.component(path, table, kind, value)
        for path in (("train",), ("teacher", "train")):
            self.closed_lists(path, self.get(path))
        self.relations()
        unique = dict.fromkeys(self.problems)
        return sorted(unique, key=lambda p: (p.line or 10**9, p.column, p.path))

    def get(self, path: Path) -> Any:
        value: Any = self.data
        for part in path:
            value = value.get(part) if isinstance(value, dict) and isinstance(part, str) else None
        return value

    def report(self, path: Path, rule: str, received: str = "", suggestion: str = "") -> None:
        """Add a problem at `path`; a path that is not in the file points at the nearest table that is."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.overrides:
                option = f"--set {self.overrides[path[:depth]]}"
                self.problems.append(Problem(option, 0, 0, show_path(path), rule, received, suggestion))
                return
        line, column = 1, 1
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.positions:
                line, column = self.positions[path[:depth]]
                break
        self.problems.append(Problem(self.file, line, column, show_path(path), rule, received, suggestion))

    def schema(self, base: Path, value: Any, schema: Data, extra: tuple[str, ...] = ()) -> None:
        """Check one value against one schema and translate what jsonschema finds."""
        for error in Draft7Validator(schema).iter_errors(value):
            self.translate(base, error, extra)

    def translate(self, base: Path, error: ValidationError, extra: tuple[str, ...]) -> None:
        path: Path = (*base, *error.absolute_path)
        schema, limit, received = error.schema, error.validator_value, show(error.instance)
        if error.validator == "additionalProperties":
            known = [*schema.get("properties", {}), *extra]
            for key in error.instance:
                if key not in schema.get("properties", {}):
                    self.unknown_key((*path, key), known)
        elif error.validator == "required":
            for key in limit:
                if key not in error.instance:
                    self.report((*path, key), "missing key")
        elif "x-rule" in schema:
            self.report(path, schema["x-rule"], received)
        elif error.validator == "type":
            kinds = [limit] if isinstance(limit, str) else limit
            self.report(path, "must be " + " or ".join(_TYPES[kind] for kind in kinds), received)
        elif error.validator in ("enum", "const"):
            choices = limit if error.validator == "enum" else [limit]
            words = [choice for choice in choices if isinstance(choice, str)]
            near = nearest(error.instance, words) if isinstance(error.instance, str) else ""
            rule = f"must be {'one of ' if len(choices) > 1 else ''}{', '.join(map(show, choices))}"
            self.report(path, rule, received, show(near) if near else "")
        else:
            rules = {
                "minimum": f"must be at least {limit}", "maximum": f"must be at most {limit}",
                "exclusiveMinimum": f"must be greater than {limit}", "exclusiveMaximum": f"must be less than {limit}",
                "minLength": "must not be empty", "pattern": f"must match {limit}",
                "minItems": f"must have at least {limit} entr{'y' if limit == 1 else 'ies'}",
                "maxItems": f"must have at most {limit} entr{'y' if limit == 1 else 'ies'}",
                "uniqueItems": "must not repeat an entry",
            }  # fmt: skip
            self.report(path, rules.get(str(error.validator), error.message), received)

    def unknown_key(self, path: Path, known: list[str]) -> None:
        key = str(path[-1])
        near = nearest(key, known)
        choices = "" if near else f" (known: {', '.join(sorted(known))})" if known else " (no keys are known here)"
        self.report(path, f"unknown key{choices}", show(key), show(near) if near else "")

    def component(self, path: Path, table: str, kind: str, value: Data) -> None:
        name = value.get("name")
        if not isinstance(name, str) or not name:
            return  # step one has said so
        component = self.registry.get(kind, name)
        if component is None:
            near = nearest(name, self.registry.names(kind))
            others = "" if near else unknown_component(self.registry, kind, name).partition(". ")[2].rstrip(".")
            rule = f"no installed plugin provides this {kind}" + (f" ({others})" if others else "")
            self.report((*path, "name"), rule, show(name), show(near) if near else "")
            return
        keys = run_keys(table)
        options = {key: option for key, option in value.items() if key not in keys}
        for key in PASSED_BY_RUN[kind]:
            if key in options:
                self.report((*path, key), "is set by the run, not by a recipe", show(options.pop(key)))
        # A reserved key whose work has not landed is refused as unknown, whatever the component would take.
        self.schema(path, options, recipe_options(component), extra=tuple(keys))

    def closed_lists(self, path: Path, train: Any) -> None:
        """Optimisers and schedules: short closed lists with options of their own."""
        for key, group in _CLOSED.items():
            table = train.get(key) if isinstance(train, dict) else None
            if not isinstance(table, dict) or not isinstance(table.get("name"), str):
                continue
            choices = definition(group)
            if table["name"] not in choices:
                near = nearest(table["name"], choices)
                rule = f"must be one of {', '.join(map(show, choices))}"
                self.report((*path, key, "name"), rule, show(table["name"]), show(near) if near else "")
                continue
            # The definitions refer to each other, so they travel along.
            schema = {**choices[table["name"]], "definitions": structure_schema()["definitions"]}
            self.schema((*path, key), {k: v for k, v in table.items() if k != "name"}, schema, extra=("name",))

    def relations(self) -> None:
        """Rules between keys, which no schema states in words a person would use."""
        loss = self.data.get("loss")
        loss = loss if isinstance(loss, dict) else {}
        has_term = "name" in loss or "terms" in loss
        if "name" in loss and "terms" in loss:
            self.report(("loss", "terms"), "give either `name` or `[[loss.terms]]`, not both")
        if "name" not in loss:
            stray = [key for key in loss if key not in definition("loss")["properties"]]
            for key in stray:
                self.unknown_key(("loss", key), [*definition("loss")["properties"], "name"])
        elif "terms" not in loss:
            checked = {key: loss[key] for key in loss if key in definition("term")["properties"]}
            self.schema(("loss",), checked, {**definition("term"), "definitions": structure_schema()["definitions"]})
        if "teacher" in self.data and not has_term:
            self.report(("loss",), "a recipe with a [teacher] needs a distillation term: `name` or [[loss.terms]]")
        if "teacher" not in self.data and has_term:
            self.report(("loss",), "a distillation term needs a [teacher]")
        if "teacher" not in self.data and self.get(("compare", "baseline")) is False:
            self.report(("compare", "baseline"), "without a [teacher] there is only the baseline to train", "false")
        label_weight = loss.get("label_weight", 1.0)
        weights = [loss.get("weight", 1.0)] if "name" in loss else []
        for term in loss["terms"] if isinstance(loss.get("terms"), list) else []:
            weights.append(term.get("weight", 1.0) if isinstance(term, dict) else 1.0)
        if label_weight == 0 and not any(weight != 0 for weight in weights):
            self.report(("loss", "label_weight"), "must be greater than 0 where no term has a weight", "0")
        for path, _, kind, value in component_tables(self.data):
            if kind == "loss" and "projector" in value and "student_layers" not in value:
                self.report((*path, "projector"), "needs student_layers and teacher_layers to map between")
        self.ranges()
        self.splits()

    def ranges(self) -> None:
        views = self.get(("dataset", "views"))
        box = views.get("random_resized_crop") if isinstance(views, dict) else None
        if isinstance(box, dict):
            if views.get("crop_padding"):
                rule = "can't be combined with random_resized_crop"
                self.report(("dataset", "views", "crop_padding"), rule, show(views["crop_padding"]))
            for key in ("scale", "ratio"):
                pair = box.get(key)
                if isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, int | float) for v in pair) \
                        and pair[0] > pair[1]:  # fmt: skip
                    path = ("dataset", "views", "random_resized_crop", key)
                    self.report(path, "must go from the least to the greatest", show(pair))

    def splits(self) -> None:
        """Splits written alike overlap for certain; slices are compared once the data are there."""
        dataset = self.data.get("dataset")
        if not isinstance(dataset, dict):
            return
        names = {key: dataset.get(key, default) for key, default in
                 (("train", "train"), ("validation", "validation"), ("test", "test"))}  # fmt: skip
        seen: dict[str, str] = {}
        for key, split in names.items():
            if not isinstance(split, str):
                continue
            if split in seen:
                self.report(("dataset", key), f"must not be the same images as dataset.{seen[split]}", show(split))
            seen.setdefault(split, key)


