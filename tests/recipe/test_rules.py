"""Rules between keys: each is broken by its example and by no valid recipe, and says where."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft7Validator

from kdrecipes.components.losses.hint import Hint
from kdrecipes.errors import Code, RecipeError
from kdrecipes.recipe.editor_schema import composed_schema
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.rules import RULES
from kdrecipes.recipe.structure import structure_schema

pytestmark = pytest.mark.usefixtures("built_ins")

FOLDER = Path(__file__).parents[1] / "recipes" / "valid"
START = 'schema_version = 1\nname = "m"\ndataset.name = "digits"\nstudent.name = "cnn"\ntrain.epochs = 1\n'
TAUGHT = START + 'teacher.name = "cnn"\n'
ZERO = 'name = "kd", schedule = { name = "linear", start = 0, end = 0.0 }'
HINT = 'name = "hint", projector = "linear"'

# For each rule, in their order: a recipe that breaks it and nothing else, and the path where.
EXAMPLES = [
    (TAUGHT + 'loss = { name = "kd", terms = [{ name = "kd" }] }', "loss.terms"),
    (START + "loss.temperature = 2", "loss.name"),
    (TAUGHT + 'loss = { temperature = 2, terms = [{ name = "kd" }] }', "loss.temperature"),
    (TAUGHT, "teacher"),
    (START + "loss.label_weight = 0", "loss.label_weight"),
    (TAUGHT + f"loss = {{ {ZERO} }}", "loss.schedule.start"),
    (TAUGHT + f"loss.terms = [{{ {ZERO} }}]", "loss.terms[0].schedule.start"),
    (TAUGHT + f"loss = {{ {HINT} }}", "loss.projector"),
    (TAUGHT + f"loss.terms = [{{ {HINT} }}]", "loss.terms[0].projector"),
    (TAUGHT + f'loss = {{ {HINT}, student_layers = ["a"], teacher_layers = ["a", "b"] }}', "loss.projector"),
    (
        TAUGHT + f'loss.terms = [{{ {HINT}, student_layers = ["a"], teacher_layers = ["a", "b"] }}]',
        "loss.terms[0].projector",
    ),
    (START + 'loss.name = "kd"', "loss"),
    (START + "compare.baseline = false", "compare.baseline"),
    (START + 'loss.name = "kd"\nteacher = [{ name = "cnn", id = "a" }, { name = "cnn", id = "a" }]', "teacher[1].id"),
    (TAUGHT + 'loss = { name = "kd", teacher = "cmn" }', "loss.teacher"),
    (
        TAUGHT + 'teacher.copies = 2\nloss = { name = "hint", student_layers = ["a"], teacher_layers = ["a"] }',
        "loss.teacher",
    ),
    (START + 'requires = ["not a name"]', "requires[0]"),
    (START + "dataset.views = { random_resized_crop = {}, crop_padding = 2 }", "dataset.views.crop_padding"),
    (START + "dataset.views.random_erasing.ratio = [2, 1]", "dataset.views.random_erasing.ratio"),
    (START + 'dataset.test = "train"', "dataset.test"),
    (START + 'dataset.validation = "train[:10%]"', "dataset.validation"),
    (START + 'dataset.test = "test[9:9]"', "dataset.test"),
    (TAUGHT + 'loss.name = "kd"\ndataset.train = "train[:200]"\ndataset.labelled = 201', "dataset.labelled"),
    (START + 'dataset.train = "train[:9]"\ntrain.batch_size = 10', "train.batch_size"),
    (START + "dataset.stratified = true", "dataset.stratified"),
    (START + 'sweep = { grid = { "train.epochs" = [1, 2] }, points = [{}] }', "sweep.points"),
    (START + f'sweep.grid = {{ "seed" = {list(range(101))}, "train.epochs" = {list(range(1, 101))} }}', "sweep.grid"),
    (START + "dataset.labelled_share = 0.5", "dataset.labelled_share"),
    (TAUGHT + 'loss.name = "kd"\ndataset.labelled = 1.0', "dataset.labelled"),
    (START + "dataset.labelled = 100", "dataset.labelled"),
    (TAUGHT + 'loss = { name = "kd", weight = 0 }\ndataset.unlabelled = "pool"', "dataset.unlabelled"),
    (TAUGHT + 'loss.name = "kd"\ndataset.unlabelled = "pool"\ntrain.batch_size = 1', "train.batch_size"),
]


@pytest.mark.parametrize(
    ("rule", "example"), list(zip(RULES, EXAMPLES, strict=True)), ids=lambda x: getattr(x, "code", "")
)
def test_a_rule_is_broken_by_its_example_alone(tmp_path, monkeypatch, rule, example):
    text, path = example
    if rule.code == "unpaired-layers":  # of any term, such as a plugin's, which declares nothing
        monkeypatch.delattr(Hint, "takes_layers")
    data = tomllib.loads(text)
    assert [other for other in RULES if list(other.broken(data))] == [rule]
    file = tmp_path / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [(path, rule.code)]


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_a_valid_recipe_breaks_none(file):
    data = json.loads(file.read_bytes()) if file.suffix == ".json" else tomllib.loads(file.read_bytes().decode())
    if "extends" not in data:
        assert [broken for rule in RULES for broken in rule.broken(data)] == []


def test_rules_name_tables_codes_and_fragments_that_there_are():
    for rule in RULES:
        assert rule.table in {"", *structure_schema()["definitions"]}
        assert rule.code in get_args(Code)
        if rule.fragment is not None:
            Draft7Validator.check_schema(rule.fragment)


def test_the_editors_schema_holds_every_fragment():
    """The same object, so that nobody can change one of the two."""

    def parts(value):
        yield id(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from parts(part)

    from kdrecipes.components.registry import load_registry

    schema = composed_schema(load_registry())
    assert {id(rule.fragment) for rule in RULES if rule.fragment is not None} <= set(parts(schema))


# ---- rules judge what a misspelled key was meant to be, and point at it as it stands


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('teachr.name = "cnn"\nloss.name = "kd"', ["teachr"]),
        ('teacher.name = "cnn"\nlos.name = "kd"', ["los"]),
        ('teacher.name = "cnn"\nloss.nmae = "kd"', ["loss.nmae"]),
        ('dataset.tets = "test[:50%]"\ndataset.train = "test[50%:]"', ["dataset.tets"]),
        ("compare.baselin = false", ["compare.baselin", "compare.baseline"]),
        ("compre.baseline = false", ["compre", "compare.baseline"]),
    ],
)
def test_a_misspelled_key_counts_as_the_one_that_was_meant(tmp_path, text, problems):
    file = tmp_path / "recipe.toml"
    file.write_text(START + text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert [problem.path for problem in caught.value.problems] == problems
    assert {problem.line for problem in caught.value.problems} <= {6, 7}, "where it stands"
