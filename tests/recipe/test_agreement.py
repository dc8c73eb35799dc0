"""The editor's schema and the validator agree, a second validator reads the schemas alike, and recipes name theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from agreement import BEYOND_A_SCHEMA, TOML, data_of, disagreement, editor, refusal
from jsonschema import Draft7Validator

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(file for file in FOLDER.rglob("*") if file.suffix in (".toml", ".json"))


@pytest.fixture
def schema(built_ins) -> Draft7Validator:
    return editor()


@pytest.mark.slow
def test_schema_and_validator_agree_on_every_recipe_of_the_tests(schema, monkeypatch):
    monkeypatch.chdir(FOLDER)
    assert len(FILES) > 130
    rules = {file: refusal(file) for file in FILES}
    assert [f"{file.name}: {found}" for file in FILES if (found := disagreement(schema, file, rules[file]))] == []


@pytest.mark.parametrize("beyond", BEYOND_A_SCHEMA, ids=lambda beyond: f"{beyond.rule}, {beyond.why}")
def test_what_no_schema_states_is_needed_as_an_exception(schema, tmp_path, beyond):
    """The validator refuses the example for this rule alone, and the schema lets it pass."""
    file = tmp_path / f"recipe.{'json' if beyond.example.startswith('{') else 'toml'}"
    file.write_text(beyond.example, encoding="utf-8")
    (rule,) = refusal(file)
    assert beyond.rule in rule
    limit = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(0)
        assert schema.is_valid(data_of(file))
    finally:
        sys.set_int_max_str_digits(limit)


# ---- rules between keys: where each of them ends

TAUGHT = TOML + 'teacher.name = "cnn"\n'
SEVERAL = TAUGHT + "teacher.copies = 2\n"
LAYERS = 'student_layers = ["a"], teacher_layers = ["b"]'
BETWEEN_KEYS = [
    (True, TOML + "compare.baseline = true\n"),
    (False, TOML + "compare.baseline = false\n"),
    (True, TAUGHT + 'loss.name = "kd"\ncompare.baseline = false\n'),
    (False, TAUGHT),
    (False, TAUGHT + "loss = {}\n"),
    (True, TAUGHT + 'loss.terms = [{ name = "kd" }]\n'),
    (False, TOML + 'loss.terms = [{ name = "kd" }]\n'),
    (True, TOML + "loss.label_weight = 1\n"),
    (False, TOML + "loss.label_weight = 0.0\n"),
    (True, TAUGHT + 'loss = { name = "kd", label_weight = 0 }\n'),
    (False, TAUGHT + 'loss = { name = "kd", label_weight = 0, weight = 0.0 }\n'),
    (True, TAUGHT + 'loss = { name = "kd", label_weight = 1, weight = 0 }\n'),
    (True, TAUGHT + 'loss = { label_weight = 0, terms = [{ name = "kd", weight = 0 }, { name = "kd" }] }\n'),
    (False, TAUGHT + 'loss = { label_weight = 0, terms = [{ name = "kd", weight = 0 }] }\n'),
    (False, TAUGHT + 'loss = { name = "kd", terms = [{ name = "kd" }] }\n'),
    (True, TAUGHT + f'loss = {{ name = "hint", projector = "linear", {LAYERS} }}\n'),
    (False, TAUGHT + 'loss = { name = "hint", projector = "linear", teacher_layers = ["b"] }\n'),
    (True, TAUGHT + f'loss.terms = [{{ name = "hint", projector = "linear", {LAYERS} }}]\n'),
    (False, TAUGHT + 'loss.terms = [{ name = "hint", projector = "linear", student_layers = ["b"] }]\n'),
    (False, TAUGHT + 'loss = { name = "kd", student_layers = ["a"] }\n'),
    (False, TAUGHT + 'loss.terms = [{ name = "hint", student_layers = ["a"] }]\n'),
    (False, TAUGHT + f'loss.terms = [{{ name = "fsp", {LAYERS} }}]\n'),
    (False, TAUGHT + 'loss = { name = "ofa", student_layers = ["a"], teacher_layers = ["b"] }\n'),
    (False, TAUGHT + 'loss = { name = "srrl", student_layers = ["a", "b"] }\n'),
    (False, TAUGHT + 'loss = { name = "crd", student_layers = ["a"] }\n'),
    (True, TAUGHT + f'loss = {{ name = "crd", {LAYERS} }}\n'),
    (False, TAUGHT + f'loss = {{ name = "vid", projector = "linear", {LAYERS} }}\n'),
    (True, TAUGHT + 'loss = { name = "kd", schedule = { name = "warmup", length = 1 } }\n'),
    (False, TAUGHT + 'loss = { name = "kd", schedule = { name = "warmup", length = 1.1 } }\n'),
    (False, TAUGHT + 'loss = { name = "kd", schedule = { name = "warmup", end = 1 } }\n'),
    (False, TAUGHT + 'loss = { name = "kd", schedule = { length = 0.5 } }\n'),
    (False, TAUGHT + 'loss = { name = "kd", schedule = { name = "cosine", start = 0 } }\n'),
    (True, TAUGHT + 'loss = { name = "kd", schedule = { name = "linear", end = 0 } }\n'),
    (True, TAUGHT + 'loss.terms = [{ name = "kd", schedule = { name = "linear", start = 0, end = 2 } }]\n'),
    (False, TAUGHT + 'loss.terms = [{ name = "kd", schedule = { length = 0.5 } }]\n'),
    (True, SEVERAL + 'loss = { name = "ofa", student_layers = ["a"] }\n'),
    (False, SEVERAL + 'loss = { name = "srrl", teacher_layers = ["a"] }\n'),
    (True, SEVERAL + 'loss = { name = "srrl", teacher_layers = ["a"], teacher = "cnn_2" }\n'),
    (True, SEVERAL.replace("2", "1.0") + 'loss = { name = "srrl", teacher_layers = ["a"] }\n'),
    (False, SEVERAL.replace("2", "2.0") + 'loss.terms = [{ name = "srrl", teacher_layers = ["a"] }]\n'),
    (True, TOML + 'teacher = [{ name = "cnn" }]\nloss = { name = "srrl", teacher_layers = ["a"] }\n'),
    (False, TOML + 'teacher = [{ name = "cnn", copies = 3 }]\nloss = { name = "srrl", teacher_layers = ["a"] }\n'),
    (
        False,
        TOML + 'teacher = [{ name = "cnn" }, { name = "cnn" }]\nloss = { name = "srrl", teacher_layers = ["a"] }\n',
    ),
    (False, TOML + 'teacher = []\nloss.name = "kd"\n'),
    (False, TOML + 'teacher = [{ width = 2 }]\nloss.name = "kd"\n'),
    (True, TOML + "dataset.views = { random_resized_crop = {}, crop_padding = 0 }\n"),
    (False, TOML + "dataset.views = { random_resized_crop = {}, crop_padding = 1 }\n"),
    (False, TOML.replace('"digits"', '"tfds"')),
    (True, TOML.replace('"digits"', '"tfds"') + 'dataset.builder = "mnist"\n'),
]


@pytest.mark.parametrize(("valid", "text"), BETWEEN_KEYS, ids=[text.removeprefix(TOML) for _, text in BETWEEN_KEYS])
def test_schema_and_validator_agree_where_a_rule_between_keys_ends(schema, tmp_path, valid, text):
    file = tmp_path / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    assert (not refusal(file), schema.is_valid(data_of(file))) == (valid, valid)


# ---- `extends`: the other recipe may have what this one leaves out

PARTS = {
    "nothing": "",
    "an option": "student.width = 8\n",
    "an option of whatever dataset": 'dataset.path = "x"\ndataset.image_size = 32\n',
    "a component without its options": 'dataset.name = "tfds"\n',
    "a teacher without a term": 'teacher.name = "cnn"\n',
    "a term on features without its teacher": 'teacher.copies = 2\nloss.teacher_layers = ["a"]\n',
    "a term without a teacher": "loss.temperature = 2\nloss.weight = 0.5\n",
    "a projector for the other one's layers": 'loss.projector = "linear"\n',
    "no labels": "loss.label_weight = 0\n",
    "no baseline": "compare.baseline = false\n",
    "an optimiser's option": "train.optimizer.momentum = 0.5\nteacher.train.schedule.warmup = 0.1\n",
    "a schedule's option": "loss.schedule.length = 0.5\n",
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_recipe_that_extends_may_leave_out_what_it_likes(schema, part):
    data = tomllib.loads('extends = "digits"\nname = "m"\n' + part)
    assert [error.message for error in schema.iter_errors(data)] == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        'name = "a b"',
        'name = "m"\nseed = -1',
        'name = "m"\ntrain.epochs = 0',
        'name = "m"\ntrain.epcohs = 1',
        'name = "m"\nstudent.image_size = 0',
        'name = "m"\nstudent = { name = "cnn", widht = 8 }',
        'name = "m"\nstudent = "cnn"',
        'name = "m"\ntrain.optimizer = { name = "sgd", beta_1 = 0.5 }',
        'name = "m"\nloss.weight = -1',
        'name = "m"\nloss.terms = [{ weight = 1 }]',
        'name = "m"\nloss.terms = [{ name = "hint", projector = "linear" }]',
        'name = "m"\ndataset.views = { random_resized_crop = {}, crop_padding = 2 }',
        'name = "m"\nteacher = [{ width = 8 }]',
        'name = "m"\nteacher = [{ name = "cnn", weight = 0 }]',
        'name = "m"\nteacher = []',
        'name = "m"\nextends = ""',
        'name = "m"\nextends = 3',
    ],
)
def test_a_recipe_that_extends_keeps_the_rules_of_what_is_there(schema, line):
    text = ("" if "extends" in line else 'extends = "digits"\n') + line
    assert not schema.is_valid(tomllib.loads(text))


# ---- a second validator, which reads patterns as JavaScript does

SHIPPED = sorted(file for file in (ROOT / "recipes").rglob("*") if file.suffix in (".toml", ".json"))
VALID = [file for file in FILES if file.parent.name == "valid"]


def check_jsonschema(*arguments: object) -> str:
    """What `check-jsonschema` says; it may ask the network for nothing."""
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")}
    command = [sys.executable, "-m", "check_jsonschema", *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **nowhere}, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_second_validator_takes_the_schemas_for_draft_07():
    assert check_jsonschema("--check-metaschema", *(ROOT / "schemas").glob("*.json")) == "ok -- validation done\n"


def test_a_second_validator_accepts_what_is_valid():
    schema = ROOT / "schemas" / "recipe.schema.json"
    assert check_jsonschema("--schemafile", schema, *SHIPPED, *VALID) == "ok -- validation done\n"


def test_a_second_validator_refuses_line_breaks_and_broken_rules():
    names = ("option_patterns", "name_line_break", "split_line_break", "loss_term_without_teacher", "views_two_crops")
    files = [FOLDER / "invalid" / f"{name}.toml" for name in names]
    text = check_jsonschema("--schemafile", ROOT / "schemas" / "recipe.schema.json", "-o", "json", *files)
    assert {Path(error["filename"]) for error in json.loads(text)["errors"]} == set(files)


# ---- which schema: what an editor is told by the file itself


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_shipped_recipe_names_its_schema(file):
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        named = json.loads(text)["$schema"]
    else:
        begin, named = text.split("\n")[0].split(" ", 1)
        assert begin == "#:schema"
    assert (file.parent / named).resolve() == ROOT / "schemas" / "recipe.schema.json"
