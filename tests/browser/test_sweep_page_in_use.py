"""A sweep's page in the hands of people: with eyes, with a keyboard, with a screen reader."""

from __future__ import annotations

import pytest
from invented_sweep import grid, losses, sweep

from kdrecipes.report.sweep_page import render_sweep

SHAPES = {
    "two keys": lambda: sweep(
        grid(loss__temperature=[1.0, 2.0, 4.0, 8.0], loss__weight=[0.1, 0.3, 0.9]), seeds=3, confirmed=3
    ),
    "many losses": lambda: failed(sweep(losses(40), kind="points")),
}


def failed(given):
    """The same with a point that failed, and one whose name is long."""
    undone = {"rank": None, "validation_accuracy": None, "kd_minus_baseline": None, "kd_minus_first": None}
    given["points"][3] |= {**undone, "status": "failed", "message": "out of memory " * 20 + "/a/long/path" * 30}
    given["points"][4]["changes"]["loss"]["name"] = "x" * 200
    return {**given, "importance": [{"key": "loss.temperature", "importance": 0.7}]}


def written(folder, shape):
    """The file of a page of a shape."""
    file = folder / "sweep.html"
    file.write_text(render_sweep(SHAPES[shape]()), encoding="utf-8")
    return file


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "width", "dark"), [("two keys", 1200, False), ("many losses", 390, True)])
def test_a_sweep_page_breaks_no_rule_of_axe_and_fits_its_window(opened, npm_package, tmp_path, shape, width, dark):
    page = written(tmp_path, shape)
    shown = opened(page, width=width, dark=dark)
    shown.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    assert shown.requests == [page.resolve().as_uri()] and shown.errors == []
    shown.page.evaluate((npm_package("axe-core") / "axe.min.js").read_text(encoding="utf-8"))
    found = shown.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "the rules ran"
    assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]] == []


def test_points_are_sorted_by_the_keyboard(opened, tmp_path):
    shown = opened(written(tmp_path, "two keys"))
    table = shown.page.locator("table.points.sortable").last
    table.get_by_role("button", name="Point", exact=True).press("Enter")
    told = table.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert told == sorted(told, reverse=True) and len(told) > 10


WIDTHS = "[...document.querySelectorAll('.scroll')].map((one) => [one.scrollWidth, one.clientWidth])"


def test_tables_of_a_sweep_are_whole_on_a_desktop(opened, tmp_path):
    shown = opened(written(tmp_path, "two keys"), width=1200)
    assert all(needed <= there for needed, there in shown.page.evaluate(WIDTHS))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
def test_the_message_of_a_failed_point_is_wrapped_and_a_wide_table_shows_that_it_goes_on(opened, tmp_path, width):
    shown = opened(written(tmp_path, "many losses"), width=width)
    cell = shown.page.locator("td.failed")
    assert cell.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    needed, there = cell.evaluate("(one) => [one.closest('table').offsetWidth, one.closest('.scroll').clientWidth]")
    assert needed <= (there if width == 1200 else 2 * there)
    cue = shown.page.locator(".scroll").first.evaluate("(one) => getComputedStyle(one).backgroundAttachment")
    assert cue == "local, local, scroll, scroll"
