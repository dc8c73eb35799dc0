"""Words as people read them: bytes, seconds, the nearest name."""

from __future__ import annotations

import pytest

from kdrecipes.wording import nearest, readable_bytes, readable_seconds


@pytest.mark.parametrize("size, text", [(0, "0 B"), (999, "999 B"), (141_557_760, "142 MB"), (2.5e9, "2.5 GB")])
def test_readable_bytes(size, text):
    assert readable_bytes(size) == text


def test_readable_seconds():
    assert [readable_seconds(s) for s in (0.04, 9.94, 42, 99.4, 100, 3725, 7300)] == [
        "0.0 s",
        "9.9 s",
        "42 s",
        "99 s",
        "2 min",
        "62 min",
        "2 h 2 min",
    ]


@pytest.mark.parametrize(
    ("word", "expected"), [("adamW", "adamw"), ("temprature", "temperature"), ("xyz", ""), ("", "")]
)
def test_nearest(word, expected):
    assert nearest(word, ["adamw", "sgd", "temperature"]) == expected
