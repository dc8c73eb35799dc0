"""A run opened again: its recipe as its lock holds it."""

from __future__ import annotations

import json

from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.resolve import NEWER_KEYS
from kdrecipes.runs.reopened import recipe_of


def test_the_lock_of_an_earlier_version_lacks_keys_and_is_opened_all_the_same(tmp_path):
    recipe = load_recipe("digits")
    data = json.loads(json.dumps(recipe.data))
    del data["report"]
    for table, key in NEWER_KEYS:
        data[table].pop(key, None)
    lock = {"recipe": data, "recipe_sha256": recipe.fingerprint, "folder": str(tmp_path)}
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    opened = recipe_of(tmp_path)
    assert opened.data == recipe.data and opened.fingerprint == recipe.fingerprint and opened.folder == tmp_path
