"""Recipes of somebody who means harm: each loads or is refused in words, and nothing else happens.

`KDRECIPES_HOSTILE=100000 pytest tests/recipe/test_hostile.py -k any_hostile` tries as many, others on every run.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hostile_recipes import hostile
from side_effects import watched

from kdrecipes.cli.checks import Result, result_json, result_text
from kdrecipes.errors import KDRecipesError, RecipeError
from kdrecipes.recipe.sweep import load_sweep, load_with_points
from kdrecipes.wording import harmless

MANY = int(os.environ.get("KDRECIPES_HOSTILE", 0))
FIRST = random.SystemRandom().randrange(10**9) if MANY else 0

pytestmark = pytest.mark.usefixtures("built_ins")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in, beside recipes that extend themselves, one another, and 40 others."""
    inside = tmp_path / "a" / "recipes"
    inside.mkdir(parents=True)
    (inside / "self.toml").write_text('extends = "self.toml"\n', encoding="utf-8")
    (inside / "circle.toml").write_text('extends = "../recipes/round.toml"\n', encoding="utf-8")
    (inside / "round.toml").write_text('extends = "circle.toml"\n', encoding="utf-8")
    for i in range(40):
        name = "chain.toml" if i == 0 else f"chain{i}.toml"
        (inside / name).write_text(f'extends = "chain{i + 1}.toml"\n', encoding="utf-8")
    monkeypatch.chdir(inside)
    return inside


def tell(file: Path, seed: int) -> str:
    """What a command says of the recipe of a seed: an error's text, or empty where it is valid."""
    made = hostile(seed)
    with watched() as done:
        try:
            load_with_points(file.name, made.overrides)
            if made.grid:
                load_sweep(file.name, made.overrides, grid=made.grid, search=4 if made.search else None)
            text = ""
        except KDRecipesError as error:
            text = str(error)
            result = Result(file.name, error.exit_code, problems=error.problems)
            json.dumps(result_json(result, show=True)).encode()
            commands = result_text(result, "github", show=False, verbose=False)
            assert all(line.startswith("::error ") for line in commands.split("\n") if line)
    assert done == [], f"seed {seed}"
    return text


def check(folder: Path, seed: int) -> bool:
    """Whether the recipe of a seed is refused; that it is in words that any terminal can be shown."""
    file = folder / f"hostile{hostile(seed).suffix}"
    file.write_bytes(hostile(seed).content)
    try:
        text = tell(file, seed)
    except BaseException as error:
        raise AssertionError(f"the recipe of seed {seed} gives {type(error).__name__}: {error!s:.500}") from error
    for line in text.split("\n"):
        assert harmless(line) == line, f"seed {seed}: {line!a}"
        assert len(line) < 3000, f"seed {seed}: a line of {len(line)} characters"
    return bool(text)


@pytest.mark.slow
def test_any_hostile_recipe_loads_or_is_refused_in_words_and_nothing_else_happens(folder):
    count = MANY or 2000
    refused = sum(check(folder, FIRST + i) for i in range(count))
    assert count * 0.6 < refused < count, "nearly all are wrong, and some harm is none"


@pytest.mark.soak
def test_twenty_thousand_hostile_recipes_do(folder, record_property):
    refused = sum(check(folder, 2000 + i) for i in range(20_000))
    for name, value in {"recipes": 20_000, "first seed": 2000, "refused": refused}.items():
        record_property(name, value)


BASE = """schema_version = 1
name = "a"
dataset = { name = "digits" }
student = { name = "cnn" }
train = { epochs = 1 }
"""
SIZE = 2**17  # bytes, an eighth of what a recipe may have: what grows with the square of it is found out
QUOTE = "\\" + '"'
BOMBS = {
    "tables that stand twice": ("toml", "[a]\n" * (SIZE // 4), "a  stands twice"),
    "keys": ("toml", "".join(f"k{i}=1\n" for i in range(SIZE // 10)), "must have at most 1,000 keys"),
    "an array": ("toml", f"{BASE}x = [{'1,' * (SIZE // 2)}]", "x  must have at most 30,000 entries"),
    "tables in an array": ("toml", f"{BASE}x = [{'{},' * 1001}]", "x  must have at most 1,000 tables and arrays in it"),
    "requirements": (
        "toml",
        f"""{BASE}requires = [{'"keras",' * 1001}]""",
        "requires  must have at most 1,000 entries",
    ),
    "escapes without a string": ("toml", QUOTE * (SIZE // 2), "is not TOML"),
    "quotes without an end": ("toml", ('"""' + QUOTE + "a") * (SIZE // 6), "is not TOML"),
    "a string without an end": ("json", '"' + QUOTE * (SIZE // 2), "is not JSON"),
    "a requirement": ("toml", f'{BASE}requires = ["x{">1," * (SIZE // 3)}"]', "requires[0]"),
    "brackets": ("json", "[" * SIZE, "must not be nested deeper than 32 levels"),
    "digits": ("json", '{"a":' + "9" * SIZE + "}", "has a number of thousands of digits"),
    "a name of half the file": ("toml", BASE.replace("cnn", "c" * SIZE), "no installed plugin provides this model"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_costs_no_long_time_and_no_long_message(folder, bomb):
    suffix, text, said = BOMBS[bomb]
    (folder / f"bomb.{suffix}").write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(RecipeError) as caught:
        load_with_points(f"bomb.{suffix}")
    assert time.process_time() - began < 10
    assert said in str(caught.value) and len(str(caught.value)) < 50_000


def test_of_very_many_problems_the_first_are_told_and_all_are_kept(folder):
    tables = "".join(f"[student{i}]\n" for i in range(500))
    (folder / "many.toml").write_text(BASE + tables, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_with_points("many.toml")
    assert len(caught.value.problems) == 500
    assert str(caught.value).count("\n") == 200 and str(caught.value).endswith("\nand 300 more problems")


def test_of_very_many_unknown_keys_all_are_told_and_of_the_first_thousand_what_they_were_meant_to_be(folder):
    keys = "".join(f"wdth{i} = 1\n" for i in range(60))
    tables = "".join(f'[[teacher]]\nname = "cnn"\n{keys}' for _ in range(30))
    (folder / "many.toml").write_text(BASE + tables, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_with_points("many.toml")
    told = [problem for problem in caught.value.problems if problem.code == "unknown-key"]
    assert len(told) == 1800 and [bool(problem.suggestion) for problem in told] == [True] * 1000 + [False] * 800
    assert str(told[-1]).endswith('teacher[29].wdth59  unknown key. Received: "wdth59"')


def test_what_never_ends_is_no_recipe(folder):
    os.mkfifo("pipe.toml")
    Path("zero.json").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.json"):
        with pytest.raises(RecipeError, match="it is no file but a pipe, a socket or a device"):
            load_with_points(name)


@pytest.mark.parametrize("text", ["a=1..2", "loss.temperature=1.." + "9" * 5000, "loss.temperature=1..1e9999"])
def test_a_range_that_is_none_is_refused_in_words(folder, text):
    (folder / "base.toml").write_text(BASE, encoding="utf-8")
    with pytest.raises(KDRecipesError) as caught:
        load_sweep("base.toml", grid=[text], search=2)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["..", "../x", "/tmp/x", "a/b", r"a\\b", "", ".", "x" * 101, r"a\u0001", "C:", r"a\n"])
def test_a_name_that_leaves_the_folder_of_runs_is_refused(folder, name):
    (folder / "named.toml").write_text(BASE.replace('"a"', f'"{name}"'), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"name  must be 1 to 100 letters, digits, '\.', '_' or '-'"):
        load_with_points("named.toml")


def test_a_reference_to_another_schema_is_a_key_like_any_other(folder):
    (folder / "ref.toml").write_text(f'{BASE}"$ref" = "http://127.0.0.1:9/x.json"\n', encoding="utf-8")
    with watched() as done, pytest.raises(RecipeError, match="unknown key"):
        load_with_points("ref.toml")
    assert done == []


def test_the_watcher_sees_what_a_recipe_must_not_do(tmp_path):
    with watched() as done:
        (tmp_path / "x").write_text("", encoding="utf-8")
        (tmp_path / "d").mkdir()
        with suppress(OSError), socket.socket() as one:
            one.connect(("127.0.0.1", 9))
        subprocess.run(["true"], check=True)
    for what in ("wrote", "os.mkdir", "socket.connect", "subprocess.Popen"):
        assert any(line.startswith(what) for line in done), what


def test_a_word_that_is_no_value_is_told_shortly(folder):
    (folder / "word.json").write_text('{"a": N' + "9" * 5000 + "}", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_with_points("word.json")
    assert len(str(caught.value)) < 1000
