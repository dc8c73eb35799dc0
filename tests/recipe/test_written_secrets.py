"""A recipe that holds a secret is refused, wherever it stands in it, and no message repeats the secret."""

from __future__ import annotations

import json

import pytest
from samples import SMALL

from kdrecipes.errors import RecipeError
from kdrecipes.recipe.load import load_recipe

TOKEN = "hf_AbCdEfGhIjKlMnOp"


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.parametrize(
    "sets",
    [
        [f'dataset.views={{"{TOKEN}"=1}}'],
        [f'description="for {TOKEN}"'],
        [f'callbacks=[{{name="csv_log", "{TOKEN}"=1}}]'],
        [f'callbacks=[{{name="mlflow", tracking_uri="http://x/{TOKEN}"}}]'],
        ['description="https://ann:hush-hush@example.org"'],
        [f'description="{TOKEN}"', 'description="none"'],
    ],
)
def test_a_set_that_holds_one_is_refused_without_repeating_it(call, tmp_path, sets):
    words = [word for text in sets for word in ("--set", text)]
    for form in ([], ["--json"]):
        code, out, err = call("run", "digits", "--out", tmp_path / "run", *words, *form)
        assert code == 2 and TOKEN not in out + err and "hush-hush" not in out + err
        assert "leave secrets to the environment" in err or "<HF_TOKEN>" in err
    assert not (tmp_path / "run").exists()


def test_a_comment_a_value_and_a_parent_s_value_are_told_with_their_line(tmp_path):
    rest = '[student]\nname="cnn"\n[train]\nepochs=1\n[dataset]\nname='
    (tmp_path / "parent.toml").write_text(
        f'schema_version=1\nname="x"\ndescription="d"\n{rest}"folder"\npath="{TOKEN}"\n'
    )
    (tmp_path / "child.toml").write_text('extends="parent.toml"\nname="y"\n')
    (tmp_path / "comment.toml").write_text(f'# {TOKEN}\nschema_version=1\nname="x"\n{rest}"digits"\n')
    for name, place in (("parent", "parent.toml:10:1"), ("child", "parent.toml:10:1"), ("comment", "comment.toml:1:1")):
        with pytest.raises(RecipeError) as caught:
            load_recipe(tmp_path / f"{name}.toml")
        [problem] = caught.value.problems
        assert place in str(problem) and problem.code == "holds-secret" and TOKEN not in str(caught.value)
        assert "the secret of the variable HF_TOKEN" in str(problem)


def test_a_sweep_s_values_are_asked_too(call, tmp_path):
    code, out, err = call("sweep", "digits", "--grid", f'description="a","{TOKEN}"', "--out", tmp_path / "sweep")
    assert code == 2 and TOKEN not in out + err
    assert not (tmp_path / "sweep").exists()


def test_the_same_recipe_without_one_loads_to_the_same_fingerprint(monkeypatch):
    there = load_recipe("digits", SMALL)
    monkeypatch.delenv("HF_TOKEN")
    assert load_recipe("digits", SMALL).fingerprint == there.fingerprint
    assert TOKEN not in json.dumps(there.data)
