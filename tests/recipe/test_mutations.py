"""Slips of the hand, by the thousand: a recipe loads or is told what is wrong with it, and editors say the same.

`KDRECIPES_MUTATIONS=20000 pytest tests/test_mutations.py` tries as many of each kind, others on every run.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from agreement import disagreement, editor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.registry import load_registry
from kdrecipes.errors import EnvironmentProblem, RecipeError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.resolve import resolve
from kdrecipes.recipe.structure import structure_schema

FOLDER = Path(__file__).parents[1] / "recipes" / "valid"
TEXTS = {file.name: file.read_bytes().decode() for file in sorted(FOLDER.iterdir())}
BASES = [json.loads(text) if name.endswith("json") else tomllib.loads(text) for name, text in TEXTS.items()]

MANY = int(os.environ.get("KDRECIPES_MUTATIONS", 0))
SETTINGS = settings(
    max_examples=MANY or 500,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


pytestmark = pytest.mark.usefixtures("built_ins")
schema = functools.cache(editor)  # called within the tests, where only the built-ins are installed


def folder(tmp_path_factory) -> Path:
    """Where a mutated recipe is written: a sibling of a copy of `bases`, which some extend."""
    root = tmp_path_factory.getbasetemp() / "recipes"
    if not root.exists():
        shutil.copytree(FOLDER.parent / "bases", root / "bases")
        (root / "valid").mkdir()
    return root / "valid"


def check(file: Path) -> None:
    """A file loads, or each of its problems has a place in it and one printable line; the editor's schema agrees."""
    lines = file.read_bytes().decode().split("\n")
    rules = []
    try:
        recipe = load_recipe(file)
    except RecipeError as error:
        assert error.problems
        rules = [problem.rule for problem in error.problems]
        for problem in error.problems:
            if problem.file != str(file):  # of the recipe that this one extends
                continue
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert all(str(problem).isprintable() for problem in error.problems)
        if "stands twice" not in str(error):
            paths = [problem.path for problem in error.problems]
            assert len(paths) == len(set(paths)), "one problem for one path"
        assert error.problems == sorted(error.problems, key=lambda p: (p.file != str(file), p.line, p.column))
    except EnvironmentProblem as error:
        assert "install with `pip install" in str(error) and str(error).isprintable()
        rules = [str(error)]
    else:
        assert resolve(recipe.data, load_registry()) == recipe.data
        json.dumps(recipe.data, allow_nan=False)
    assert disagreement(schema(), file, rules) == ""


# ---- data: what somebody might write in place of what is right


def keys_of(schema) -> set[str]:
    """Every key of every table that a schema knows."""
    found = set(schema.get("properties", {}))
    for part in schema.values():
        for inner in part if isinstance(part, list) else [part]:
            found |= keys_of(inner) if isinstance(inner, dict) else set()
    return found


OPTIONS = [recipe_options(component) for component, _ in load_registry().components.values()]
KEYS = sorted(keys_of(structure_schema()).union(*map(keys_of, OPTIONS)))
NAMES = sorted({name for _, name in load_registry().components})
ODD = ["", " ", "é", "a\nb", "a\x1b[31m", "a.b", "\u202e", "\U0001f600", "$ref", "x" * 300, "alpha", "lr", "0"]

numbers = st.one_of(
    st.sampled_from([0, 1, 2, 4, 32, 0.1, 0.5, 0.999, 1.0, 2.5, -1, -0.5, -0.0, 5.0, 1e-9, 1e308, 10**6, 2**31]),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 2**63, -(2**63) - 1, 10**30, 4294967296]),
    st.integers(),
    st.floats(),
)
words = st.one_of(
    st.sampled_from([*NAMES, *ODD, "train", "test", "train[:50%]", "train[5", "0.1", "auto", "off", "linear", "crop"]),
    st.sampled_from(["float32", "bfloat16", "adam", "sgd", "constant", "one_cycle", "balanced", "none", "../x", "1"]),
    st.text(max_size=6),
)
leaves = st.one_of(numbers, words, st.booleans(), st.none())
values = st.one_of(
    leaves,
    st.lists(leaves, max_size=3),
    st.dictionaries(st.sampled_from(KEYS), leaves, max_size=3),
    st.builds(lambda name: {"name": name}, st.sampled_from(NAMES)),
    st.builds(nested := lambda depth: [nested(depth - 1)] if depth else [], st.integers(1, 40)),
)
places = st.integers(0, 10**6)
ACTIONS = ("delete", "rename", "insert", "swap", "replace", "double", "component", "move", "nest", "borrow", "nudge")
edits = st.lists(
    st.tuples(st.sampled_from(ACTIONS), places, places, values, st.sampled_from([*KEYS, *ODD])), min_size=1, max_size=4
)


def slip(key: str, at: int) -> str:
    """A key with one letter left out, doubled, in capitals, or in its neighbour's place."""
    at, how = at % max(1, len(key)), at % 4
    one, rest = key[at : at + 1], key[at + 1 :]
    changed = ("", one * 2, one.upper(), rest[:1] + one)[how]
    return key[:at] + changed + (rest[1:] if how == 3 else rest)


def spots_of(data) -> list:
    """Every place of a recipe: its table or list, and its key there."""
    spots: list = [(data, key) for key in data]
    for parent, key in spots:
        inner = parent[key]
        spots += [
            (inner, k)
            for k in (inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ())
        ]
    return spots


def paths_of(data, path=()):
    """The path of every key of every table, not looking into lists."""
    for key, part in data.items():
        yield (*path, key), part
        if isinstance(part, dict):
            yield from paths_of(part, (*path, key))


LENT = [pair for base in BASES for pair in paths_of(base)]


def edited(base, changes):
    """A recipe after some changes; one that has nothing to act on changes nothing."""
    data = copy.deepcopy(base)
    for action, which, other, shared, word in changes:
        spots = spots_of(data)
        if not spots:
            return data
        value = copy.deepcopy(shared)  # or it might come to stand within itself
        (parent, key), (second, its) = spots[which % len(spots)], spots[other % len(spots)]
        tables = [data, *(p[k] for p, k in spots if isinstance(p[k], dict))]
        if action == "delete":
            del parent[key]
        elif action == "rename" and isinstance(parent, dict):
            parent[slip(key, other)] = parent.pop(key)
        elif action == "insert":
            tables[which % len(tables)][word] = value
        elif action == "swap":
            parent[key], second[its] = copy.deepcopy(second[its]), copy.deepcopy(parent[key])
        elif action == "replace":
            parent[key] = value
        elif action == "double" and isinstance(parent[key], list):
            parent[key] += copy.deepcopy(parent[key])[: 1 + other % 2]
        elif action == "component":
            named = [table for table in tables if "name" in table]
            if named:
                named[which % len(named)]["name"] = NAMES[other % len(NAMES)]
        elif action == "move":
            moved = parent.pop(key)
            target = tables[other % len(tables)]
            target[key if isinstance(key, str) else word] = copy.deepcopy(moved)
        elif action == "nudge":
            old = parent[key]
            if isinstance(old, bool):
                parent[key] = not old
            elif isinstance(old, int | float):
                parent[key] = (0, old + 1, old - 1, old / 2)[other % 4]
        elif action == "borrow":  # what stands in another recipe, at the same place
            (*names, last), lent = LENT[which % len(LENT)]
            target = data
            for name in names:
                target = target.setdefault(name, {}) if isinstance(target, dict) else None
            if isinstance(target, dict):
                target[last] = copy.deepcopy(lent)
        elif action == "nest":
            parent[key] = {word: parent[key]} if other % 2 else [parent[key]]
    return data


def as_toml(value) -> str:
    """A value in TOML's inline form; null, which TOML lacks, as an empty table."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {as_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "{}"
    return str(value).lower()


def quoted(text: str) -> str:
    return json.dumps(re.sub("[\ud800-\udfff]", "?", text), ensure_ascii=False).replace("\x7f", "\\u007f")


@pytest.mark.slow
@SETTINGS
@given(st.sampled_from(BASES), edits, st.sampled_from(["json", "indented", "toml"]))
def test_any_edit_loads_or_is_told_what_is_wrong(tmp_path_factory, base, changes, form):
    data = edited(base, changes)
    file = folder(tmp_path_factory) / ("edited.toml" if form == "toml" else "edited.json")
    if form == "toml":
        text = "".join(f"{quoted(key)} = {as_toml(value)}\n" for key, value in data.items())
    else:
        text = json.dumps(data, indent=1 if form == "indented" else None)
    file.write_text(text, encoding="utf-8", newline="")
    check(file)


# ---- text: characters lost, doubled, strange; lines lost, doubled, moved

CHARACTERS = [
    *"[]{}\"'=.,#\n\t ab0\\:-_+%",
    "\r",
    "\x00",
    "\x7f",
    "é",
    "\u2028",
    "\ufeff",
    "1_000",
    '"""',
    "[[",
    "true",
]
damages = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "cut", "line", "lines"]),
        places,
        st.integers(0, 4),
        st.sampled_from(CHARACTERS),
    ),
    min_size=1,
    max_size=3,
)


def damaged(text: str, changes) -> str:
    """A text after some damages."""
    for action, at, count, character in changes:
        lines = text.split("\n")
        line, at = at % len(lines), at % (len(text) + 1)
        if action == "insert":
            text = text[:at] + character + text[at + count :]
        elif action == "delete":
            text = text[:at] + text[at + count :]
        elif action == "cut":
            text = text[:at]
        elif action == "line":
            text = "\n".join([*lines[:line], *lines[line : line + 1] * (count % 3), *lines[line + 1 :]])
        else:
            moved = lines.pop(line)
            lines.insert(at % (len(lines) + 1), moved)
            text = "\n".join(lines)
    return text


@pytest.mark.slow
@SETTINGS
@given(st.sampled_from(sorted(TEXTS)), damages)
def test_any_damage_to_the_text_is_reported_inside_it(tmp_path_factory, name, changes):
    file = folder(tmp_path_factory) / f"damaged{Path(name).suffix}"
    file.write_text(damaged(TEXTS[name], changes), encoding="utf-8", newline="")
    check(file)
