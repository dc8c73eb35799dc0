"""The page of runs side by side, as a phone shows it."""

from __future__ import annotations

import pytest
from test_build import fill

from kdrecipes.report.compare import compare_runs
from kdrecipes.report.compare_page import write_comparison_page


@pytest.mark.slow
def test_a_comparison_breaks_no_rule_of_axe_and_fits_its_window(opened, npm_package, tmp_path):
    runs = [
        fill(tmp_path / ("run" * place), loss={"name": name, "weight": float(place)})
        for place, name in enumerate(("kd", "dist", "a_loss_with_a_very_long_name"), 1)
    ]
    page = tmp_path / "page.html"
    write_comparison_page(compare_runs(runs), page)
    shown = opened(page, width=390, dark=True)
    shown.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert shown.page.evaluate("document.documentElement.scrollWidth") == 390
    assert shown.requests == [page.resolve().as_uri()] and shown.errors == []
    shown.page.evaluate((npm_package("axe-core") / "axe.min.js").read_text(encoding="utf-8"))
    found = shown.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "the rules ran"
    assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]] == []
