"""`extends`: one parent, merged key by key before validation; every key knows the file it came from."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from kdrecipes.errors import RecipeError
from kdrecipes.recipe.load import load_recipe

BASE = """
schema_version = 1
name = "base"
description = "the parent"
requires = ["kdrecipes"]
[dataset]
name = "folder"
path = "images"
image_size = 32
[dataset.views]
flip = true
[teacher]
name = "cnn"
width = 32
preflight = "warn"
[teacher.train]
epochs = 3
[student]
name = "cnn"
width = 4
image_size = 16
[loss]
name = "kd"
label_weight = 0.25
weight = 0.75
temperature = 3.0
[train]
epochs = 2
batch_size = 32
optimizer = { name = "adamw", learning_rate = 1e-3, weight_decay = 0.5 }
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """`child(text)` loads a recipe that extends BASE; both stand in folders of their own."""
    monkeypatch.chdir(tmp_path)
    for folder in ("bases", "mine"):
        Path(folder).mkdir()
    Path("bases/base.toml").write_text(BASE)

    def load(text, *overrides, extends="../bases/base.toml", file="mine/child.toml"):
        Path(file).write_text(f'extends = "{extends}"\nname = "child"\n{text}')
        return load_recipe(file, overrides)

    return load


def test_what_a_child_leaves_out_is_its_parents(child):
    mine, base = child(""), load_recipe("bases/base.toml")
    assert mine.name == "child" and "description" not in mine.data and "extends" not in mine.data
    assert mine.data["dataset"].pop("path") == "../bases/images"
    assert base.data["dataset"].pop("path") == "images"
    assert {k: v for k, v in mine.data.items() if k != "name"} == {
        k: v for k, v in base.data.items() if k not in ("name", "description")
    }


def test_tables_are_completed_and_values_and_arrays_replaced(child):
    data = child("requires = []\n[student]\nwidth = 8\n[train]\noptimizer = { learning_rate = 0.5 }").data
    assert data["student"] == {"name": "cnn", "width": 8, "depth": 2, "image_size": 16}
    assert data["train"]["optimizer"]["learning_rate"] == 0.5 and data["train"]["optimizer"]["weight_decay"] == 0.5
    assert data["requires"] == []


def test_another_component_takes_the_runs_keys_and_no_options(child):
    data = child('[student]\nname = "mobilenet_v3_small"\n[teacher]\nname = "bit_m_r50x1"').data
    assert data["student"]["image_size"] == 16 and "width" not in data["student"]
    assert data["teacher"]["preflight"] == "warn" and data["teacher"]["train"]["epochs"] == 3
    assert "width" not in data["teacher"]


def test_another_dataset_keeps_the_views(child):
    data = child('[dataset]\nname = "digits"\nvalidation = 0.2').data["dataset"]
    assert data["views"]["flip"] and data["image_size"] == 32 and "path" not in data


@pytest.mark.parametrize("loss", ['name = "dist"', 'terms = [{ name = "dist" }]'])
def test_another_term_keeps_what_concerns_the_labels(child, loss):
    data = child(f"[loss]\n{loss}").data["loss"]
    assert data["label_weight"] == 0.25
    (term,) = data.get("terms", [data])
    assert term["name"] == "dist" and term["weight"] == 1.0 and term["temperature"] == 1.0


def test_one_term_replaces_several(child):
    child('[loss]\nterms = [{ name = "dist" }]')
    data = child('[loss]\nname = "kd"', extends="child.toml", file="mine/grandchild.toml").data["loss"]
    assert "terms" not in data and data["name"] == "kd" and data["label_weight"] == 0.25


def test_another_optimizer_takes_nothing_over(child):
    optimizer = child('[train]\noptimizer = { name = "sgd", learning_rate = 0.1 }').data["train"]["optimizer"]
    assert optimizer["weight_decay"] == 0.0


def test_a_parent_may_extend_in_turn(child):
    child("[train]\nepochs = 7")
    recipe = child("[student]\nwidth = 9", extends="child.toml", file="mine/grandchild.toml")
    assert (recipe.data["train"]["epochs"], recipe.data["student"]["width"]) == (7, 9)
    assert recipe.origins["train", "epochs"] == "mine/child.toml:4"
    assert recipe.origins["train", "batch_size"] == "bases/base.toml:29"
    assert recipe.origins["student", "width"] == "mine/grandchild.toml:4"


def test_a_packaged_recipe_is_named_without_an_ending(child):
    recipe = child("[student]\nwidth = 3", extends="digits")
    assert recipe.data["dataset"]["name"] == "digits" and recipe.data["student"]["width"] == 3
    same = child("[student]\nwidth = 6", extends="digits")
    assert same.fingerprint == load_recipe("digits").fingerprint


def test_a_childs_paths_are_its_own(child):
    recipe = child('[dataset]\npath = "images"')
    assert recipe.options(recipe.dataset)["path"] == str(Path("mine/images").resolve())
    recipe = child("")
    assert Path(recipe.options(recipe.dataset)["path"]).resolve() == Path("bases/images").resolve()
    assert child("", 'dataset.path="x"').data["dataset"]["path"] == "x", "--set is relative to the recipe that is run"


def test_a_path_stays_a_path(child):
    """Without a slash, `vit` is a name on a hub, and `imagenet` an option's word."""
    Path("bases/deep").mkdir()
    base = BASE.replace('name = "cnn"\nwidth = 32', 'name = "bit_m_r50x1"\nweights = "../imagenet"')
    Path("bases/deep/t.toml").write_text(base.replace('path = "images"', 'path = "images"'))
    recipe = child("", extends="deep/t.toml", file="bases/child.toml")
    assert recipe.data["teacher"]["weights"] == "./imagenet" and recipe.data["dataset"]["path"] == "./deep/images"
    assert recipe.options(*recipe.teachers.values())["weights"].endswith("/bases/imagenet")


def test_a_link_to_a_folder_leads_where_it_leads(child):
    """`..` after a link is the link's target's parent, as the file system has it, wherever the command is typed."""
    Path("elsewhere").mkdir()
    Path("elsewhere/link").symlink_to(Path("mine").resolve())
    Path("elsewhere/base.toml").write_text(BASE.replace("epochs = 2", "epochs = 9"))
    Path("base.toml").write_text(BASE.replace("epochs = 2", "epochs = 5"))
    recipe = child("", extends="../base.toml", file="elsewhere/link/child.toml")
    assert recipe.data["train"]["epochs"] == 5


def test_a_chain_of_parents_has_an_end(child):
    for i in range(40):
        Path(f"bases/{i}.toml").write_text(f'extends = "{i + 1}.toml"\nname = "x"\n')
    with pytest.raises(
        RecipeError, match=r"^bases/30\.toml:1:1  extends  is a recipe that is extended more than 32 times"
    ):
        child("", extends="0.toml", file="bases/child.toml")


def test_a_path_from_home_stays_one(child):
    Path("bases/home.toml").write_text(BASE.replace('"images"', '"~/images"'))
    assert child("", extends="../bases/home.toml").data["dataset"]["path"] == "~/images"


def test_origins_name_commands_too(child):
    origins = child("", "train.epochs=9").origins
    assert origins["train", "epochs"] == "--set train.epochs=9" and origins["train", "batch_size"].endswith("toml:29")
    assert ("train", "precision") not in origins


def test_a_replaced_arrays_places_go(child):
    Path("bases/terms.toml").write_text(
        BASE.replace('name = "kd"', "").replace("weight = 0.75\ntemperature = 3.0", "")
        + '[[loss.terms]]\nname = "kd"\n[[loss.terms]]\nname = "dist"\n'
    )
    recipe = child('[[loss.terms]]\nname = "kd"', extends="../bases/terms.toml")
    assert recipe.origins["loss", "terms", 0, "name"] == "mine/child.toml:4"
    assert ("loss", "terms", 1, "name") not in recipe.origins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[train]\nepochs = 0", "mine/child.toml:4:1  train.epochs  must be at least 1. Received: 0"),
        (
            '[student]\nname = "mobilenet_v3_small"\nwidth = 3',
            "mine/child.toml:5:1  student.width  unknown key (known: weights, dropout, name, image_size)",
        ),
        ("[loss]\nname = 3", "mine/child.toml:4:1  loss.name  must be a string. Received: 3"),
        ("train = 3", "mine/child.toml:3:1  train  must be a table. Received: 3"),
    ],
)
def test_a_childs_mistakes_are_in_its_file(child, text, expected):
    with pytest.raises(RecipeError) as caught:
        child(text)
    if "known:" in expected:
        expected = expected.partition(" (")[0]
    assert [str(p) for p in caught.value.problems if str(p).startswith(expected)], caught.value


def test_a_parents_mistakes_are_in_the_parents_file(child):
    Path("bases/base.toml").write_text(BASE.replace("batch_size = 32", "batch_size = 0").replace("depth", "deep"))
    with pytest.raises(RecipeError, match=r"^bases/base\.toml:29:1  train\.batch_size  must be at least 1"):
        child("")
    Path("bases/base.toml").write_text("name =")
    with pytest.raises(RecipeError, match=r"^bases/base\.toml:1:7  is not TOML"):
        child("")


def test_circles_are_refused_with_their_way(child):
    Path("bases/base.toml").write_text('extends = "../mine/child.toml"\nname = "base"')
    with pytest.raises(RecipeError) as caught:
        child("")
    assert str(caught.value) == (
        "bases/base.toml:1:1  extends  goes in a circle: child.toml → base.toml → child.toml. "
        'Received: "../mine/child.toml"'
    )


def test_extends_is_no_key_of_a_command(child):
    with pytest.raises(RecipeError, match=r"^--set extends=\"digits\"  extends  can't be set by a command"):
        child("", 'extends="digits"')


@pytest.mark.parametrize("keys", list(itertools.combinations(["dataset", "teacher", "student", "loss", "train"], 2)))
def test_a_table_that_is_none_is_told_and_not_merged(child, keys):
    with pytest.raises(RecipeError) as caught:
        child("".join(f"{key} = 1\n" for key in keys))
    assert {p.path for p in caught.value.problems} >= set(keys)


def test_a_long_name_that_is_nearly_right_is_given_back(child):
    name = "a_name_of_more_than_sixty_characters_which_messages_would_shorten.toml"
    Path(f"bases/{name}").write_text(BASE)
    with pytest.raises(RecipeError, match=r'did you mean "\.\./bases/a_name_of'):
        child("", extends=f"../bases/{name.replace('name', 'nmae')}")


@pytest.mark.parametrize(
    "extends", ["../nowhere/x.toml", "~nobody/x.toml", "bases\\u0000.toml", "../bases", "x" * 300 + ".toml"]
)
def test_what_is_no_recipe_is_refused_in_its_place(child, extends):
    with pytest.raises(RecipeError, match=r"^mine/child\.toml:1:1  extends  "):
        child("", extends=extends)
