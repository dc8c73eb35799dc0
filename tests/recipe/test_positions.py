"""`positions` against texts whose every key's place is known, because the test wrote them there."""

from __future__ import annotations

import json
import tomllib
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdrecipes.recipe.positions import place, positions, repeated, show_path, too_deep

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEYS = st.one_of(
    st.sampled_from(["a", "b", "name", "train", "lr-1", "0", "epochs"]),
    st.text(max_size=4).filter(lambda key: key.isprintable()),
    st.sampled_from(["", "a.b", 'say "x"', "it's", "tab\there", "line\nbreak", "[x]", "# no", "=", "é", "\\"]),
)
SCALARS = st.one_of(
    st.integers(-9, 99),
    st.booleans(),
    st.sampled_from([0.5, 1e-3]),
    st.sampled_from(["", "x", "[train]\nepochs = 1\n", 'a "quoted" # word', "}],", "\\", "'''", '"""', "ends with \\"]),
    st.text(max_size=6).filter(lambda text: text.isprintable()),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
TABLES = st.dictionaries(KEYS, VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=2), max_size=3), max_size=5)


class Writer:
    """Text that remembers where each path begins."""

    def __init__(self, random: Random):
        self.text, self.random, self.places = "", random, {}

    def mark(self, path, offset=None):
        self.places.setdefault(path, place(self.text, len(self.text) if offset is None else offset))

    def pick(self, *choices):
        return self.random.choice(choices)


class Toml(Writer):
    def key(self, key: str) -> str:
        bare = bool(key) and key.isascii() and all(c.isalnum() or c in "_-" for c in key)
        literal = "'" not in key and key.isprintable()
        forms = [json.dumps(key, ensure_ascii=False)] + [key] * 3 * bare + [f"'{key}'"] * literal
        return self.random.choice(forms)

    def string(self, text: str) -> str:
        basic = json.dumps(text, ensure_ascii=False)
        forms = [basic, '"""\n' + basic[1:-1].replace("\\n", self.pick("\n", "\\n")) + '"""']
        if text.isprintable() and "'" not in text:
            forms.append(f"'{text}'")
        if "'''" not in text and not text.endswith("'") and all(c.isprintable() or c == "\n" for c in text):
            forms.append(f"'''\n{text}'''")
        return self.random.choice(forms)

    def value(self, path, value):
        if isinstance(value, dict):
            self.text += "{" + self.pick("", " ")
            for index, (key, part) in enumerate(value.items()):
                self.text += ", " if index else ""
                self.pair((*path, key), [key], part)
            self.text += "}"
        elif isinstance(value, list):
            self.text += "[" + self.pick("", "\n  ", " # a ] comment\n")
            for index, part in enumerate(value):
                self.mark((*path, index))
                self.value((*path, index), part)
                last = index == len(value) - 1
                self.text += self.pick("", " ", "\n", "# , [\n") + ("," if not last else self.pick("", ","))
                self.text += self.pick("", " ", "\n\t", " # 'x\n")
            self.text += "]"
        else:
            self.text += self.string(value) if isinstance(value, str) else json.dumps(value)

    def pair(self, path, keys, value):
        """`keys` are the dotted parts that stand before the value; more of them while tables are dotted."""
        if isinstance(value, dict) and len(value) == 1 and self.pick(True, False):
            ((key, part),) = value.items()
            self.pair((*path, key), [*keys, key], part)
            return
        base = path[: len(path) - len(keys)]
        for depth, key in enumerate(keys, 1):
            self.mark((*base, *keys[:depth]))
            self.text += self.key(key) + self.pick("", "", " ")
            self.text += "." + self.pick("", " ") if depth < len(keys) else ""
        self.text += self.pick("=", " = ", "\t=")
        self.value(path, value)

    def dotted(self, path, keys, value):
        """A table as lines of dotted keys."""
        if isinstance(value, dict) and value:
            for key, part in value.items():
                self.dotted((*path, key), [*keys, key], part)
        else:
            self.line(path, keys, value)

    def line(self, path, keys, value):
        self.text += self.pick("", "", "  ", "\n", "# [comment] = 1\n")
        self.pair(path, keys, value)
        self.text += self.pick("", "", " # x = 1", "\r") if not self.text.endswith("\r") else ""
        self.text += "\n"

    def table(self, path, header, table):
        later = []
        for key, value in table.items():
            here, form = (*path, key), self.pick("pair", "later", "dotted")
            is_tables = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
            if form == "later" and (isinstance(value, dict) or is_tables):
                later.append((key, value))
            elif form == "dotted" and isinstance(value, dict):
                self.dotted(here, [key], value)
            else:
                self.line(here, [key], value)
        for key, value in later:
            parts = [*header, key]
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                here = (*path, key, index) if isinstance(value, list) else (*path, key)
                self.text += self.pick("", "\n", "  ")
                start = len(self.text)
                self.mark((*path, key), start)
                self.mark(here, start)
                inner = self.pick("", " ") + self.pick(".", " . ").join(map(self.key, parts)) + self.pick("", " ")
                self.text += (f"[[{inner}]]" if isinstance(value, list) else f"[{inner}]") + self.pick("\n", " # y\n")
                self.table(here, parts, item)


class Json(Writer):
    def blank(self):
        self.text += self.pick("", "", " ", "\n", "\t\r\n ")

    def value(self, path, value):
        if isinstance(value, dict | list):
            self.text += "{" if isinstance(value, dict) else "["
            self.blank()
            for index, key in enumerate(value):
                self.text += "," if index else ""
                self.blank()
                here = (*path, key if isinstance(value, dict) else index)
                self.mark(here)
                if isinstance(value, dict):
                    self.text += json.dumps(key, ensure_ascii=self.pick(True, False))
                    self.blank()
                    self.text += ":"
                    self.blank()
                self.value(here, value[key] if isinstance(value, dict) else key)
                self.blank()
            self.text += "}" if isinstance(value, dict) else "]"
        else:
            self.text += json.dumps(value)


def paths_of(value, path=()):
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from paths_of(part, (*path, key))


@pytest.mark.slow
@QUICK
@given(TABLES, st.randoms(use_true_random=False))
def test_every_value_in_toml_has_its_place(data, random):
    writer = Toml(random)
    writer.table((), [], data)
    assert tomllib.loads(writer.text) == data, "the writer of this test is wrong"
    assert positions(writer.text, json=False) == writer.places
    assert set(writer.places) == set(paths_of(data))
    assert repeated(writer.text, json=False) == []
    assert too_deep(writer.text, 32, json=False) is None


@QUICK
@given(TABLES, st.randoms(use_true_random=False))
def test_every_value_in_json_has_its_place(data, random):
    writer = Json(random)
    writer.blank()
    writer.value((), data)
    assert json.loads(writer.text) == data, "the writer of this test is wrong"
    assert positions(writer.text, json=True) == writer.places
    assert repeated(writer.text, json=True) == []
    assert too_deep(writer.text, 32, json=True) is None


@QUICK
@given(TABLES, st.randoms(use_true_random=False), st.data())
def test_whatever_the_parser_accepts_has_places(data, random, draw):
    """Valid texts with random edits: those that stay valid have a place for every path, inside the text."""
    is_json = random.choice([True, False])
    writer = (Json if is_json else Toml)(random)
    writer.value((), data) if is_json else writer.table((), [], data)
    text = writer.text
    for _ in range(draw.draw(st.integers(0, 3))):
        at = draw.draw(st.integers(0, len(text)))
        text = (
            text[:at] + draw.draw(st.sampled_from(list("[]{}\"'=.,#\n ab0\\:-"))) + text[at + random.choice([0, 1]) :]
        )
    try:
        parsed = json.loads(text) if is_json else tomllib.loads(text)
    except ValueError:
        repeated(text, json=is_json)  # never raises, valid or not
        return
    found = positions(text, json=is_json)
    assert set(paths_of(parsed)) == set(found)
    lines = text.split("\n")
    assert all(1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) for line, column in found.values())


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="[]{}\"'=.,#\n ab01_-\\", max_size=14), st.booleans())
def test_any_short_text_that_parses_has_places(text, is_json):
    repeated(text, json=is_json)
    too_deep(text, 5, json=is_json)
    try:
        parsed = json.loads(text) if is_json else tomllib.loads(text)
    except ValueError:
        return
    assert set(paths_of(parsed)) == set(positions(text, json=is_json))


def test_the_column_counts_characters_not_bytes():
    assert positions('dataset = { "größe" = 1, b = 2 }', json=False)["dataset", "b"] == (1, 26)


@pytest.mark.parametrize(
    ("text", "is_json", "path", "first", "second"),
    [
        ("a = 1\nb = 2\na = 3\n", False, ("a",), 0, 12),
        ("[a]\nx = 1\n[b]\n[a]\n", False, ("a",), 0, 14),
        ("[a]\nx = 1\nx.y = 2\n", False, ("a", "x"), 4, 10),
        ("a = 1\n[a.b]\n", False, ("a",), 0, 6),
        ("[[t]]\nx = 1\n[[t]]\nx = 1\nx = 2\n", False, ("t", 1, "x"), 18, 24),
        ('{"a": [{"b": 1, "b": 2}]}', True, ("a", 0, "b"), 8, 16),
    ],
)
def test_a_repeated_key_is_found_at_both_places(text, is_json, path, first, second):
    assert repeated(text, json=is_json) == [(path, first, second)]


@pytest.mark.parametrize(
    ("text", "is_json", "offset"),
    [
        ("x = [[[[1]]]]", False, 7),
        ("x = '[[[['", False, None),
        ('x = """\n[[[[\n"""', False, None),
        ("# [[[[", False, None),
        ("[[a.b]]\n[[a.b]]\n[[a.b]]\n", False, None),
        ("a.b.c.d = 1", False, 0),
        ("x = 1\n\"a\" . b.'c' .d = 1", False, 6),
        ("x = { a.b.c.d = 1 }", False, 6),
        ("x = 'a.b.c.d.e'", False, None),
        ('{"a.b.c.d": [[[1]]]}', True, 14),
        ('{"[[[[": 1}', True, None),
        ("[[[[", True, 3),
    ],
)
def test_what_nests_too_deep_is_found_where_it_begins(text, is_json, offset):
    assert too_deep(text, 3, json=is_json) == offset


@pytest.mark.slow
def test_looking_for_depth_is_fast_on_a_megabyte():
    """It is asked before the parser, whose time grows with the square of a dotted key's parts."""
    for text in ("a" * 2**20, "a." * 2**19, "[" * 2**20, '"' * 2**20, "'''" * 2**18, "a = '" * 2**18):
        too_deep(text, 32, json=False)
        too_deep(text, 32, json=True)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("loss", "terms", 0, "weight"), "loss.terms[0].weight"),
        (("$schema",), "$schema"),
        (("a b", "c.d"), '"a b"."c.d"'),
        (('say "x"\n',), '"say \\"x\\"\\n"'),
        (("\u001b[31m\u202e",), '"\\u001b[31m\\u202e"'),
        (("größe",), '"größe"'),
        ((), ""),
    ],
)
def test_a_path_is_shown_as_one_would_write_it(path, shown):
    assert show_path(path) == shown
