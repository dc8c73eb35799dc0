"""Two-step validation: the recipe's structure, then each named component's own options; all problems at once.

The walk alone: what to say of what it finds is in `messages`, the rules between keys are in `rules`. Imports neither
torch nor keras.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from kdrecipes.components.contract import PASSED_BY_RUN, recipe_options
from kdrecipes.components.registry import Registry
from kdrecipes.errors import EnvironmentProblem, Problem, one_line
from kdrecipes.recipe import messages
from kdrecipes.recipe.builders import layer_problems, option_problems
from kdrecipes.recipe.extends import Places
from kdrecipes.recipe.messages import Message
from kdrecipes.recipe.path_options import is_path
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.rules import RULES
from kdrecipes.recipe.source import is_json
from kdrecipes.recipe.structure import (
    CLOSED_LISTS,
    Data,
    choices_at,
    component_tables,
    definition,
    run_keys,
    structure_schema,
    teacher_tables,
    term_tables,
)
from kdrecipes.recipe.written_secrets import secrets_in_values
from kdrecipes.wording import nearest, printable

MOST_HELPED = 1000  # problems before a further unknown key: what it was meant to be takes longer than all else to find


class Checker:
    """Collects the problems of one recipe. `check` is the whole of it.

    One mistake gives one problem: each path is reported once, and a key that is missing because a neighbour misspells
    it is not reported on top of the misspelling.
    """

    def __init__(self, data: Data, places: Places, file: str, registry: Registry, overrides: dict[Path, str]):
        self.data, self.places, self.file, self.registry, self.overrides = data, places, file, registry, overrides
        self.problems: list[Problem] = []
        self.missing: list[tuple[Path, Data]] = []
        self.told: set[Path] = set()
        self.touched: set[Path] = set()  # every path at which or below which something is wrong
        self.right = copy.deepcopy(data)  # with misspelled keys put right and unknown ones left out
        self.written: dict[Path, Path] = {}  # from what a misspelled key was meant to be to the key as it stands
        self.is_json = is_json(file)

    def check(self) -> list[Problem]:
        """All problems, in file order."""
        self.schema((), self.data, structure_schema())
        for path, table, kind, value in list(component_tables(self.data)):
            self.component(path, table, kind, value)
        for path in (("train",), *((*path, "train") for path, _ in teacher_tables(self.data))):
            for key in CLOSED_LISTS:
                self.closed_list((*path, key))
        for path, _ in term_tables(self.data):
            self.closed_list((*path, "schedule"))
        self.loss(self.data.get("loss"))
        for path, _, kind, term in component_tables(self.right):
            if kind == "loss" and isinstance(term.get("name"), str):
                self.layers(path, term)
        for path, table, kind, value in component_tables(self.right):
            self.between_options(path, table, kind, value)
        for rule in RULES:
            for path, *words in rule.broken(self.right):
                self.report(path, Message(rule.code, *words))
        for found, message in secrets_in_values(self.data):
            self.report(found, message)
        for path, schema in self.missing:
            if path not in self.written:
                extends = ("extends",) in self.places
                self.report(path, messages.missing_key(path, schema, is_json=self.is_json, extends=extends))
        return sorted(self.problems, key=lambda p: (p.file != self.file, p.line or 10**9, p.column))

    def get(self, path: Path) -> Any:
        """What stands under a path; None where nothing does."""
        value: Any = self.data
        for part in path:
            there = part in value if isinstance(value, dict) else isinstance(part, int) and isinstance(value, list)
            value = value[part] if there else None
        return value

    # ---- collecting

    def problem(self, path: Path, message: Message) -> Problem:
        """A problem in the place of `path`, or of the `--set` that wrote it; what is not there: of its table."""
        code, *words = message
        key = self.as_written(path)
        for depth in range(len(key), 0, -1):
            if key[:depth] in self.overrides:
                option = printable(f"--set {self.overrides[key[:depth]]}")
                return Problem(option, 0, 0, show_path(path), *words, code=code)
        file, line, column = self.file, 1, 1
        for depth in range(len(key), 0, -1):
            if key[:depth] in self.places:
                file, line, column, _ = self.places[key[:depth]]
                break
        return Problem(file, line, column, show_path(path), *words, code=code)

    def as_written(self, path: Path) -> Path:
        """A path as it stands in the recipe, where a key in it is misspelled."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.written:
                return (*self.written[path[:depth]], *path[depth:])
        return path

    def report(self, path: Path, message: Message) -> None:
        """Add a problem at `path`, unless there is one; a path that is not in the file points at its table."""
        if path not in self.told:
            self.told.add(path)
            self.touch(path)
            self.problems.append(self.problem(path, message))

    def touch(self, path: Path) -> None:
        """Note that something is wrong at a path."""
        self.touched.update(path[:depth] for depth in range(1, len(path) + 1))

    def unknown_key(self, path: Path, known: list[str]) -> None:
        """Report a key that its table does not know, and put it right for the checks to come."""
        many = len(self.problems) >= MOST_HELPED
        self.report(path, messages.another_key(path) if many else messages.unknown_key(path, self.get(path), known))
        table: Any = self.right
        for part in path[:-1]:
            table = table[part]
        value, near = table.pop(path[-1], None), "" if many else messages.meant(path, known)
        if near and near not in table:
            table[near], self.written[(*path[:-1], near)] = value, path

    # ---- the walk

    def schema(self, base: Path, value: Any, schema: Data, extra: tuple[str, ...] = ()) -> None:
        """Check one value against one schema; `extra`: keys that it knows besides, told to those who misspell one."""
        for error in Draft7Validator(schema).iter_errors(value):
            self.unfit((*base, *error.absolute_path), error, extra)

    def unfit(self, path: Path, error: ValidationError, extra: tuple[str, ...]) -> None:
        """Report what jsonschema finds: unknown keys, missing keys, or a value that does not fit."""
        keys = error.schema.get("properties", {})
        if error.validator == "additionalProperties" and error.validator_value is False:
            for key in error.instance:
                if key not in keys:
                    self.unknown_key((*path, key), [*keys, *extra])
        elif error.validator == "required":
            for key in error.validator_value:
                if key not in error.instance:
                    self.missing.append(((*path, key), keys.get(key, {})))
                    self.touch(self.missing[-1][0])
        else:
            self.report(path, messages.unfit(error, path, is_json=self.is_json))

    def component(self, path: Path, table: str, kind: str, value: Data) -> None:
        """Step two: the options of one named component."""
        keys = run_keys(table)
        if "name" not in value and (near := nearest("name", [key for key in value if key not in keys])):
            self.unknown_key((*path, near), ["name"])
        name = value.get("name")
        if not isinstance(name, str) or not name:
            return  # step one has said so
        component = self.registry.get(kind, name)
        if component is None:
            self.report((*path, "name"), messages.unknown_component(kind, name, self.registry))
            return
        options = {key: option for key, option in value.items() if key not in keys}
        for key in PASSED_BY_RUN[kind]:
            if key in options:
                self.report((*path, key), messages.passed_by_run((*path, key), options.pop(key), kind))
        # A reserved key whose work has not landed is refused as unknown, whatever the component would take.
        try:
            self.schema(path, options, recipe_options(component), extra=tuple(keys))
        except Exception as error:  # a reference that leads nowhere, a pattern that is none
            owner = self.registry.provider(kind, name)
            text = f"The options schema of the {kind} {name!r} ({owner}) can't be used: {one_line(error)}"
            raise EnvironmentProblem(text) from error
        declared = recipe_options(component).get("properties", {})
        for key, option in options.items():
            path_option = isinstance(option, str) and is_path(declared.get(key, {}), option)
            if path_option and (message := messages.escaped_path(option)):
                self.report((*path, key), message)

    def layers(self, path: Path, term: Data) -> None:
        """The layers of a term that declares which it reads; the rules that hold for any term then add nothing."""
        found = list(layer_problems(self.registry.get("loss", term["name"]), term))
        for key, message in found:
            self.report((*path, key), message)
        if found:
            self.told |= {(*path, key) for key in ("projector", "teacher") if key == "projector" or key not in term}

    def between_options(self, path: Path, table: str, kind: str, value: Data) -> None:
        """What a component tells of options that each fit: a table with another problem is not asked about."""
        name = value.get("name")
        component = self.registry.get(kind, name) if isinstance(name, str) else None
        if component is None or path in self.touched:
            return
        keys, dataset = run_keys(table), self.right.get("dataset")
        shared = dataset.get("image_size") if isinstance(dataset, dict) else None
        size = value.get("image_size", shared)
        options = {key: option for key, option in value.items() if key not in keys}
        with suppress(Exception):  # a stranger's code: the run tells
            for key, message in option_problems(component, options, size if type(size) is int else None):
                of_data = key == "image_size" and key not in value
                self.report(("dataset", key) if of_data else (*path, key), message)

    def closed_list(self, path: Path) -> None:
        """An optimiser or a schedule: one of a short closed list, with options of its own."""
        table = self.get(path)
        if not isinstance(table, dict) or not isinstance(table.get("name"), str):
            return
        choices = definition(choices_at(path))
        if table["name"] not in choices:
            self.report((*path, "name"), messages.not_a_choice(table["name"], list(choices)))
            return
        options = {option: value for option, value in table.items() if option != "name"}
        self.schema(path, options, with_definitions(choices[table["name"]]), extra=("name",))

    def loss(self, loss: Any) -> None:
        """`[loss]` is also a term of its own where it names one; its misspelled keys where it does not."""
        if not isinstance(loss, dict):
            return
        own, term = definition("loss")["properties"], definition("term")
        if "name" in loss:
            if "terms" not in loss:
                keys = {key: value for key, value in loss.items() if key in term["properties"]}
                self.schema(("loss",), keys, with_definitions(term))
            return
        known = [*own, "name"]
        for key in loss:
            if key not in own and key not in term["properties"] and nearest(key, known):
                self.unknown_key(("loss", key), known)


def with_definitions(schema: Data) -> Data:
    """A part of the structure schema with the definitions that it may refer to."""
    return {**schema, "definitions": structure_schema()["definitions"]}
