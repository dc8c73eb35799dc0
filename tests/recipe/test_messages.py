"""Recipes as data: those in recipes/valid load; each in recipes/invalid fails with exactly the text beside it.

After a change of a message: run `KDRECIPES_UPDATE_GOLDEN=1 pytest tests/test_recipes_golden.py`, then read the diff of
every `.errors.txt` as somebody would who wrote that recipe: does it name the place, the rule and the way out?
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from kdrecipes.errors import Code, EnvironmentProblem, KDRecipesError, RecipeError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.structure import structure_schema, teacher_tables

FOLDER = Path(__file__).parents[1] / "recipes"
VALID = sorted(str(p.relative_to(FOLDER)) for p in (FOLDER / "valid").iterdir())
INVALID = sorted(str(p.relative_to(FOLDER)) for p in (FOLDER / "invalid").iterdir() if p.suffix != ".txt")

pytestmark = pytest.mark.usefixtures("built_ins")


@pytest.mark.parametrize("name", VALID)
def test_every_valid_recipe_loads(name, monkeypatch):
    monkeypatch.chdir(FOLDER)
    recipe = load_recipe(name)
    assert recipe.text == (FOLDER / name).read_bytes().decode()
    assert recipe.folder == FOLDER / "valid"
    assert len(recipe.fingerprint) == 64


@pytest.mark.parametrize("name", INVALID)
def test_every_invalid_recipe_gives_its_golden_message(name, monkeypatch):
    monkeypatch.chdir(FOLDER)
    with pytest.raises(KDRecipesError) as caught:
        load_recipe(name)
    text = str(caught.value) + "\n"
    golden = FOLDER / f"{name}.errors.txt"
    if os.environ.get("KDRECIPES_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    assert type(caught.value) is (EnvironmentProblem if name == "invalid/requires_missing.toml" else RecipeError)
    assert all(line.startswith(f"{name}:") for line in text.splitlines()), "one problem, one line, with its place"
    assert text.isprintable() or text.replace("\n", "").isprintable()


def test_every_problem_has_a_code_of_the_list(monkeypatch):
    monkeypatch.chdir(FOLDER)
    found = set()
    for name in INVALID:
        with pytest.raises(KDRecipesError) as caught:
            load_recipe(name)
        found |= {problem.code for problem in caught.value.problems}
    # Of the system, of a plugin that is broken, of a dry run.
    elsewhere = {"unreadable", "broken-requirement", "broken-component", "failed"}
    assert found == set(get_args(Code)) - elsewhere


def test_every_error_text_has_its_recipe():
    texts = {p.name.removesuffix(".errors.txt") for p in (FOLDER / "invalid").glob("*.errors.txt")}
    assert texts == {Path(name).name for name in INVALID}


def test_everything_uses_every_key(monkeypatch):
    """A key that is added to the structure is added to recipes/valid too."""
    monkeypatch.chdir(FOLDER)
    used: dict[str, set[str]] = {}

    def note(table: str, value) -> None:
        used.setdefault(table, set()).update(value)

    for name in VALID:
        import json
        import tomllib

        text = (FOLDER / name).read_bytes().decode()
        data = json.loads(text) if name.endswith("json") else tomllib.loads(text)
        note("root", data)
        for table in ("dataset", "student", "loss", "train", "compare", "report", "sweep"):
            note(table, data.get(table, {}))
        teachers = [table for _, table in teacher_tables(data)]
        note("views", data.get("dataset", {}).get("views", {}))
        for table in ("random_resized_crop", "random_erasing"):
            note(table, data.get("dataset", {}).get("views", {}).get(table, {}))
        for table in teachers:
            note("teacher", table)
            note("teacher_train", table.get("train", {}))
        for term in [*data.get("loss", {}).get("terms", []), data.get("loss", {})]:
            note("term", term)
            if "schedule" in term:
                note(f"term schedule {term['schedule']['name']}", term["schedule"])
        for callback in data.get("callbacks", []):
            note("callback", callback)
        for train in (data.get("train", {}), *(table.get("train", {}) for table in teachers)):
            for group in ("optimizer", "schedule"):
                if group in train:
                    note(train[group]["name"], train[group])
    schema = structure_schema()
    definitions = schema["definitions"]
    tables = {
        "root": schema,
        **{name: definitions[name] for name in used if name in definitions},
        **{k: definitions["views"]["properties"][k] for k in ("random_resized_crop", "random_erasing")},
        **definitions["optimizers"],
        **definitions["schedules"],
        **{f"term schedule {name}": table for name, table in definitions["term_schedules"].items()},
    }
    unused = {name: set(table["properties"]) - used.get(name, set()) for name, table in tables.items()}
    unused["adam"] -= {"learning_rate", "beta_2"}  # as in adamw
    assert not {name: keys for name, keys in unused.items() if keys}
