"""The page of `kdrecipes describe`, as a phone shows it."""

from __future__ import annotations

import pytest

from kdrecipes.data.describing import describe
from kdrecipes.data.thumbnails import thumbnails
from kdrecipes.recipe.load import load_recipe
from kdrecipes.report.data_page import write_data_page


@pytest.mark.slow
def test_a_page_of_data_breaks_no_rule_of_axe_and_fits_its_window(opened, npm_package, tmp_path):
    found = describe(load_recipe("digits"))
    facts = found.facts | {"warnings": ["one\nof two lines"], "refused": ["a_name_without_any_gap_" * 20]}
    page = tmp_path / "page.html"
    write_data_page(facts, thumbnails(found, 0), page)
    shown = opened(page, width=390, dark=True)
    assert shown.page.evaluate("document.documentElement.scrollWidth") == 390
    assert [one for one in shown.requests if not one.startswith("data:")] == [page.resolve().as_uri()]
    assert shown.errors == [] and shown.page.evaluate("document.scripts.length") == 0
    shown.page.evaluate((npm_package("axe-core") / "axe.min.js").read_text(encoding="utf-8"))
    broken = shown.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in broken] == []
