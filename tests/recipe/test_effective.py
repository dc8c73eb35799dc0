"""The effective recipe: the same one in full, with where each value came from, and as TOML that reads back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdrecipes.recipe.effective import effective_toml, origins_of
from kdrecipes.recipe.load import load_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
ROOT = FOLDER.parent.parent

pytestmark = pytest.mark.usefixtures("built_ins")


@pytest.mark.parametrize("file", sorted((FOLDER / "valid").iterdir()), ids=lambda file: file.name)
def test_the_effective_recipe_is_the_same_recipe_in_full(file, tmp_path):
    recipe = load_recipe(file)
    shown = tmp_path / "shown.toml"
    shown.write_text(effective_toml(recipe))
    again = load_recipe(shown)
    assert again.data == recipe.data and again.fingerprint == recipe.fingerprint
    assert "default" not in origins_of(again).values(), "nothing is left out"


def test_every_value_says_where_it_came_from(monkeypatch):
    monkeypatch.chdir(FOLDER)
    text = effective_toml(load_recipe("valid/extends.toml", ["train.batch_size=64"]))
    assert 'name = "extends"  # valid/extends.toml:3\n' in text
    assert 'name = "cnn"  # bases/base.json:6\n' in text
    assert "image_size = 16  # bases/base.json:5\n" in text
    assert "batch_size = 64  # --set train.batch_size=64\n" in text
    assert "label_smoothing = 0.0  # default\n" in text


def test_what_the_teacher_takes_from_train_is_said():
    recipe = load_recipe("digits", ["teacher.train.epochs=9"])
    origins = origins_of(recipe)
    assert origins["teacher.train.epochs"] == "--set teacher.train.epochs=9"
    assert origins["teacher.train.batch_size"] == "as train.batch_size"
    assert origins["teacher.train.optimizer.learning_rate"] == "as train.optimizer.learning_rate"
    assert origins["teacher.train.precision"] == "default"
    other = origins_of(load_recipe("digits", ['teacher.train.optimizer={name="sgd", learning_rate=1}']))
    assert other["teacher.train.optimizer.weight_decay"] == "default", "of another optimizer nothing is taken"


def test_a_table_that_a_command_wrote_is_its_own_and_what_it_lacks_is_default():
    origins = origins_of(load_recipe("digits", ['student={name="cnn"}']))
    assert origins["student.name"].startswith("--set student=") and origins["student.depth"] == "default"


def test_text_that_toml_must_escape_reads_back_as_it_is(tmp_path):
    recipe = json.loads((ROOT / "recipes" / "digits.json").read_text())
    recipe["description"] = 'a "quote"\n\\ \x7f é 😀'
    (tmp_path / "odd.json").write_text(json.dumps(recipe))
    (tmp_path / "shown.toml").write_text(effective_toml(load_recipe(tmp_path / "odd.json")))
    assert load_recipe(tmp_path / "shown.toml").data["description"] == recipe["description"]


def test_tables_within_lists_odd_keys_and_line_breaks_read_back_as_they_are(tmp_path):
    """Of a plugin's options, which may be tables; of a command, which may hold a line break."""
    table = {"type": "object", "description": "any", "default": {}}
    (tmp_path / "odd.py").write_text(
        "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components():\n"
        "    for kind in ('loss', 'callback'):\n        yield kdrecipes.Component(kind, 'odd', dict, "
        f"{{'type': 'object', 'additionalProperties': False, 'properties': {{'table': {table}, 'other': {table}}}}})\n"
    )
    more = [
        'callbacks=[{name="odd", table={a.b=[1, {c="x"}]}}, {name="csv_log"}]',
        'loss={terms=[{name="odd", table={"$b"={"é # \\u007f"=2}}, other={d={}}}, {name="kd"}]}',
        'description="""two\nlines"""',
    ]
    recipe = load_recipe("digits", more, plugins=[tmp_path / "odd.py"])
    (tmp_path / "shown.toml").write_text(effective_toml(recipe))
    again = load_recipe(tmp_path / "shown.toml", plugins=[tmp_path / "odd.py"])
    assert again.data == recipe.data
