"""docs/reliability.md names a test for each promise, and each of these tests is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise ")]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def test_every_promise_names_a_test():
    assert len(ROWS) > 20
    assert [row for row in ROWS if "::test_" not in row.rpartition(" | ")[2]] == []
    assert PAGE.count("::test_") == len(NAMED)


def test_every_test_that_is_named_is_there():
    gone = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (ROOT / file).is_file()
        or not re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert gone == []


def test_no_promise_is_left_to_the_soak_alone():
    for file, name in NAMED:
        before = (ROOT / file).read_text(encoding="utf-8").partition(f"\ndef {name}(")[0].rpartition("\n\n")[2]
        assert "mark.soak" not in before, name


def test_the_threat_model_is_five_sentences():
    model = PAGE.partition("## The threat model\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"[a-z`]\.(?=\s)", model)) == 5


def test_who_finds_a_weakness_finds_where_to_tell_it():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "docs/reliability.md" in text and "Report a vulnerability" in text
