"""The report as a browser shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "assets" / "reports").glob("*.html"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_shipped_report_asks_for_nothing_and_complains_of_nothing(opened, page):
    shown = opened(page)
    assert shown.page.locator("h1").inner_text()
    assert shown.requests == [page.resolve().as_uri()]
    assert not shown.errors
