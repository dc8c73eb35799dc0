"""Every JSON file that comes with kdrecipes says each thing once: Python reads the last of two equal keys silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"schemas": "*.json", "recipes": "*.json", "results": "*.json", "docs": "*.ipynb"}
FILES = sorted(file for folder, pattern in FOLDERS.items() for file in (ROOT / folder).rglob(pattern))


def refuse_repeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table: dict[str, object] = {}
    for key, value in pairs:
        assert key not in table, f"the key {key!r} stands twice in one object; remove one of them"
        table[key] = value
    return table


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_key_stands_twice(file):
    json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=refuse_repeated)


def test_every_folder_has_such_files():
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(FOLDERS)


def test_a_repeated_key_is_refused():
    with pytest.raises(AssertionError, match="the key 'extends' stands twice in one object; remove one of them"):
        json.loads('{"a": {"extends": 1, "extends": 1}}', object_pairs_hook=refuse_repeated)
