"""`[[teacher]]`: ids, seeds, copies, defaults, origins and fingerprints of several teachers."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.errors import RecipeError
from kdrecipes.recipe.effective import effective_toml, origins_of
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.teacher_ids import teacher_ids

SEVERAL = Path(__file__).parents[1] / "recipes" / "valid" / "several_teachers.toml"
START = 'schema_version = 1\nname = "m"\ndataset.name = "digits"\nstudent.name = "cnn"\ntrain.epochs = 1\n'
TAUGHT = START + 'loss.name = "kd"\n'

pytestmark = pytest.mark.usefixtures("built_ins")


@pytest.fixture
def load(tmp_path):
    def load(text: str, *overrides: str):
        (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
        return load_recipe(tmp_path / "recipe.toml", overrides)

    return load


def test_copies_and_positions_give_ids_and_seeds():
    recipe = load_recipe(SEVERAL)
    teachers = [(t.id, t.place, t.seed, t.weight, t.precision) for t in recipe.teachers.values()]
    assert teachers == [
        ("wide", "teacher[0]", 5, 2.0, "float32"),
        ("wide_2", "teacher[0]", 6, 2.0, "float32"),
        ("wide_3", "teacher[0]", 7, 2.0, "float32"),
        ("cnn", "teacher[1]", 3, 1.0, "bfloat16"),
    ]
    assert list(recipe.teachers) == [t[0] for t in teachers]
    assert [table.place for table in recipe.components()][1:5] == [t[1] for t in teachers]
    assert recipe.loss.teachers == "logits"
    assert [term.teacher for term in recipe.loss.terms] == [None, "wide_2"]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_single_teacher_has_the_components_name_and_the_recipes_seed(load, seed):
    for text in ('[teacher]\nname = "cnn"\n', '[[teacher]]\nname = "cnn"\n'):
        (teacher,) = load(TAUGHT + f"seed = {seed}\n" + text).teachers.values()
        assert (teacher.id, teacher.seed, teacher.weight) == ("cnn", seed, 1.0)


def test_seeds_past_the_largest_begin_anew(load):
    recipe = load(TAUGHT + f'seed = {2**32 - 1}\nteacher = {{ name = "cnn", copies = 2 }}')
    assert [teacher.seed for teacher in recipe.teachers.values()] == [2**32 - 1, 0]


@pytest.mark.parametrize(
    ("tables", "ids"),
    [
        ([{"name": "cnn"}, {"name": "cnn"}], [["cnn"], ["cnn_2"]]),
        ([{"name": "cnn", "copies": 3}], [["cnn", "cnn_2", "cnn_3"]]),
        ([{"name": "cnn"}, {"name": "vit", "id": "cnn"}], [["cnn_2"], ["cnn"]]),
        ([{"id": "a", "name": "cnn", "copies": 2}, {"id": "a_2", "name": "cnn"}], [["a", "a_3"], ["a_2"]]),
        ([{"name": "ensemble"}, {"name": "kd-net"}], [["teacher-ensemble"], ["teacher-kd-net"]]),
    ],
)
def test_an_id_that_is_taken_is_numbered(tables, ids):
    assert teacher_ids(tables) == ids


tables = st.fixed_dictionaries(
    {"name": st.sampled_from(["cnn", "cnn_2", "labels", "baseline-0"])},
    optional={"copies": st.integers(1, 4), "id": st.sampled_from(["cnn", "cnn_2", "cnn_3", "a"])},
)


@given(st.lists(tables, max_size=5, unique_by=lambda table: table.get("id", id(table))))
def test_no_two_teachers_have_one_id(tables):
    found = teacher_ids(tables)
    ids = [name for own in found for name in own]
    assert len(set(ids)) == len(ids) == sum(table.get("copies", 1) for table in tables)
    assert all(own[0] == table["id"] for own, table in zip(found, tables, strict=True) if "id" in table)


def test_each_teacher_takes_from_train_what_its_own_leaves_out():
    first, second, third, other = load_recipe(SEVERAL).teachers.values()
    assert first.train.optimizer.name == "sgd" and first.train.epochs == 2 and first.train.batch_size == 128
    assert second.train is not None and third.options == first.options
    assert other.train is None
    origins = origins_of(load_recipe(SEVERAL, ["train.batch_size=32"]))
    assert origins["teacher[0].train.batch_size"] == "as train.batch_size"
    assert origins["teacher[0].train.epochs"].endswith("several_teachers.toml:17")
    assert origins["teacher[0].train.optimizer.learning_rate"] == "default"
    assert origins["teacher[1].weight"] == "default"


def test_the_effective_recipe_writes_each_teacher_with_its_tables():
    text = effective_toml(load_recipe(SEVERAL))
    assert text.count("[[teacher]]\n") == 2 and text.count("[teacher.train.optimizer]\n") == 1
    assert [table["name"] for table in tomllib.loads(text)["teacher"]] == ["cnn", "cnn"]


# ---- fingerprint


def test_one_teacher_in_a_list_is_the_same_recipe(load):
    table = load(TAUGHT + '[teacher]\nname = "cnn"\ntrain.epochs = 2\n')
    listed = load(TAUGHT + '[[teacher]]\nname = "cnn"\ntrain.epochs = 2\n')
    assert listed.fingerprint == table.fingerprint
    assert load(TAUGHT + '[[teacher]]\nname = "cnn"\n').fingerprint != table.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "teacher.weight = 1",
        "teacher.copies = 1",
        'loss.teachers = "probabilities"',
        'dataset.background = "white"',
        "dataset.max_pixels = 89478485",
        "dataset.stratified = false",
    ],
)
def test_a_newer_key_at_its_default_does_not_count(load, text):
    bare = TAUGHT + 'teacher.name = "cnn"\n'
    assert load(bare + text).fingerprint == load(bare).fingerprint
    # Of this recipe, as the version before these keys had it.
    assert load(bare).fingerprint == "aa250c36583a28cbce2485ffe780401946fc425686f9822b965b528ec6e6c4e8"


@pytest.mark.parametrize(
    "change",
    ["teacher.weight=2", "teacher.copies=2", 'loss.teachers="logits"', 'teacher.id="a"', "teacher.seed=1"],
)
def test_whatever_changes_a_run_counts(load, change):
    bare = TAUGHT + 'teacher.name = "cnn"\n'
    assert load(bare, change).fingerprint != load(bare).fingerprint


# ---- extends, --set


def test_a_list_of_teachers_is_inherited_and_replaced_as_a_whole(tmp_path):
    (tmp_path / "base.toml").write_text(SEVERAL.read_text())
    child = tmp_path / "child.toml"
    child.write_text('extends = "base.toml"\nname = "child"\ntrain.epochs = 3\n')
    recipe = load_recipe(child)
    assert list(recipe.teachers) == ["wide", "wide_2", "wide_3", "cnn"]
    assert origins_of(recipe)["teacher[0].id"].endswith("base.toml:9")
    child.write_text('extends = "base.toml"\nname = "child"\n[[teacher]]\nname = "cnn"\nid = "wide_2"\n')
    assert list(load_recipe(child).teachers) == ["wide_2"]
    child.write_text('extends = "base.toml"\nname = "child"\n[teacher]\nname = "cnn"\n')
    with pytest.raises(
        RecipeError, match=r"base.toml:36:1  loss.terms\[1\].teacher  must be the id of a teacher: .cnn"
    ):
        load_recipe(child)


def test_a_key_of_one_of_several_cannot_be_set_by_a_command():
    with pytest.raises(RecipeError) as caught:
        load_recipe(SEVERAL, ['teacher.cache="off"'])
    (problem,) = caught.value.problems
    assert str(problem) == (
        '--set teacher.cache="off"  teacher  is an array here: set it as a whole, or change the recipe.'
    )
    recipe = load_recipe(SEVERAL, ['teacher=[{name="cnn", id="wide_2", cache="off"}]'])
    assert [teacher.cache for teacher in recipe.teachers.values()] == ["off"]


def test_the_resolved_form_reads_back_as_it_is(tmp_path):
    recipe = load_recipe(SEVERAL)
    (tmp_path / "again.json").write_text(json.dumps(recipe.data))
    again = load_recipe(tmp_path / "again.json")
    assert again.data == recipe.data and again.fingerprint == recipe.fingerprint
