"""Words as people read them: bytes, seconds, points, nats, the nearest name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.wording import (
    about_points,
    escaped,
    harmless,
    harmless_json,
    left_out_words,
    listed,
    nats,
    nearest,
    nearest_names,
    points,
    printable,
    readable_bytes,
    readable_seconds,
)


@pytest.mark.parametrize("size, text", [(0, "0 B"), (999, "999 B"), (141_557_760, "142 MB"), (2.5e9, "2.5 GB")])
def test_bytes_are_told_in_the_unit_that_fits(size, text):
    assert readable_bytes(size) == text


def test_seconds_are_told_as_people_say_them():
    assert [readable_seconds(s) for s in (0.04, 9.94, 42, 99.4, 100, 3725, 7300)] == [
        "0.0 s",
        "9.9 s",
        "42 s",
        "99 s",
        "2 min",
        "62 min",
        "2 h 2 min",
    ]


def test_differences_have_a_sign_and_sizes_have_none():
    assert [points(share) for share in (-0.0083, 0.0, 0.12345)] == ["−0.83", "+0.00", "+12.35"]
    assert [nats(value) for value in (-0.0214, 1.5)] == ["−0.021", "+1.500"]
    assert [about_points(share) for share in (0.0003, 0.00571, 0.0173, 0.1249)] == ["0.03", "0.57", "1.7", "12"]


@pytest.mark.parametrize(
    ("word", "expected"), [("adamW", "adamw"), ("temprature", "temperature"), ("xyz", ""), ("", "")]
)
def test_the_nearest_word_is_found_or_none_is(word, expected):
    assert nearest(word, ["adamw", "sgd", "temperature"]) == expected


@given(st.text())
def test_printable_is_one_line(text):
    assert printable(text).isprintable()


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_escaped_text_fits_utf8_and_text_that_does_is_as_it_was(text):
    escaped(text).encode("utf-8")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        assert escaped(text) != text
    else:
        assert escaped(text) == text


def test_bytes_of_a_name_are_escaped_as_they_are():
    assert escaped(b"g\xe9ant".decode("utf-8", "surrogateescape")) == r"g\xe9ant"
    assert escaped("\ud800") == r"\ud800"


def test_reasons_are_told_with_examples_the_most_frequent_first():
    assert left_out_words({"dark": ["a"], "light": ["b", "c", "d", "e"]}) == "4 light (b, c, d, …); 1 dark (a)"
    many = left_out_words({f"r{i}": ["x"] for i in range(11)})
    assert many.endswith("1 r6 (x); 3 for other reasons")
    assert left_out_words({}) == ""


def test_a_long_list_is_cut_and_its_rest_counted():
    assert listed(["a"] * 20) == ["a"] * 20
    assert listed(["a"] * 1021)[19:] == ["a", "  and 1,001 more"]


def test_near_names_are_found_whatever_stands_between_their_words():
    names = ["ConvNeXtTiny", "convnext_base", "MobileNetV2", "lion"]
    assert nearest_names("convnext-tiny", names) == ["ConvNeXtTiny", "convnext_base"]
    assert nearest_names("ConvNextBase", names, count=1) == ["convnext_base"]
    assert nearest_names("qqq", names) == []


def test_nothing_that_a_terminal_obeys_or_hides_is_left_and_lines_are():
    told = {
        "\x1b": r"\u001b",
        "\x9b": r"\u009b",
        "\x7f": r"\u007f",
        "\r": r"\u000d",
        "\u202e": r"\u202e",
        "\ufeff": r"\ufeff",
    }
    told |= {"\U000e0041": r"\U000e0041", "\udce9": r"\xe9", "\u200b": r"\u200b"}
    assert {text: harmless(text) for text in told} == told
    assert harmless(kept := "ä\t1\n\U0001f469\u200d\U0001f469") == kept


@given(st.text())
def test_json_keeps_its_value_when_it_is_made_harmless(text):
    safe = harmless_json(json.dumps({"a": text}, ensure_ascii=False, indent=2))
    assert json.loads(safe) == {"a": text} and harmless(safe) == safe
