"""A report's page in the hands of people: with eyes, with a keyboard, with a screen reader, on paper."""

from __future__ import annotations

import pytest
from invented import facts_of, run

from kdrecipes.report.html import render

REACHABLE = "button, summary, a[href], [tabindex='0']"
SHAPES = {
    "one seed": {},
    "three seeds": {"seeds": 3},
    "several teachers, many classes": {"seeds": 2, "several": True, "names": 101},
    "names that are long": {"names": ["an unusually long name of a class of things " * 3, "b" * 200, "c", "d"]},
    "no teacher": {"teacher": False},
}


@pytest.fixture(scope="module", params=list(SHAPES))
def page(request, tmp_path_factory):
    """The file of a page of each shape."""
    return written(tmp_path_factory.mktemp("page") / "report.html", SHAPES[request.param])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The file of the page of three seeds."""
    return written(tmp_path_factory.mktemp("plain") / "report.html", SHAPES["three seeds"])


def written(file, shape):
    """A page of an invented run whose networks cost something."""
    given = run(**shape)
    report = given["report"]
    for count, network in enumerate([*report["teachers"], *report["arms"]]):
        network["params"] = 40_000_000 if count < len(report["teachers"]) else 2_000_000
        network |= {
            "size_bytes": 4 * network["params"],
            "latency_ms": {"1": {"median": network["params"] / 1e6, "p95": 99.0}},
        }
    report["warnings"] = ["A warning."]
    report["advice"] = [{"code": "KD001", "text": "Some advice."}]
    file.write_text(render(report, facts_of(given)), encoding="utf-8")
    return file


def unfold(shown):
    shown.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")


@pytest.mark.slow
def test_a_page_asks_for_nothing_and_complains_of_nothing(opened, page):
    shown = opened(page)
    unfold(shown)
    assert shown.page.locator("th button").count() > 5
    assert shown.requests == [page.resolve().as_uri()] and shown.errors == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)], ids=["light", "dark on a phone"])
def test_a_page_breaks_no_rule_of_axe(opened, npm_package, page, width, dark):
    shown = opened(page, width=width, dark=dark)
    unfold(shown)
    strongest = "document.querySelectorAll('.matrix td').forEach((cell) => cell.style.setProperty('--s', 1))"
    shown.page.evaluate(strongest)
    shown.page.evaluate((npm_package("axe-core") / "axe.min.js").read_text(encoding="utf-8"))
    found = shown.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "the rules ran"
    told = [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]
    assert told == []


@pytest.mark.parametrize("width", [1200, 390])
def test_a_page_is_never_wider_than_its_window(opened, page, width):
    shown = opened(page, width=width)
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    unfold(shown)
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.slow
def test_all_that_can_be_used_is_reached_by_the_tab_key(opened, page):
    shown = opened(page)
    shown.page.evaluate(
        f"[...document.querySelectorAll(`{REACHABLE}`)].filter((one) => one.checkVisibility())"
        ".forEach((one, at) => (one.dataset.at = at))"
    )
    count = shown.page.locator("[data-at]").count()
    reached = []
    for _ in range(count):
        shown.page.keyboard.press("Tab")
        reached.append(shown.page.evaluate("document.activeElement.dataset.at"))
    assert count > 10 and reached == [str(at) for at in range(count)]


@pytest.mark.slow
def test_a_table_is_sorted_by_the_enter_key_and_says_so(opened, plain):
    shown = opened(plain)
    table = shown.page.locator("table.sortable", has=shown.page.locator("th", has_text="Best epoch"))
    heading = table.locator("thead th", has_text="Seed")

    def column(number):
        return [row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr").all()]

    assert column(1) == ["0", "1", "2", "0", "1", "2"]
    heading.locator("button").focus()
    shown.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending" and column(1) == ["2", "2", "1", "1", "0", "0"]
    assert shown.page.locator("#sorted").inner_text() == "Sorted by Seed, descending."
    shown.page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "ascending" and column(1) == ["0", "0", "1", "1", "2", "2"]
    table.locator("thead button").first.press("Enter")
    assert heading.get_attribute("aria-sort") is None and column(0) == sorted(column(0))


def test_on_paper_nothing_is_folded_and_no_arrow_is_printed(opened, plain):
    shown = opened(plain)
    shown.page.emulate_media(media="print")
    heights = shown.page.evaluate("[...document.querySelectorAll('pre, details table')].map((one) => one.clientHeight)")
    assert heights and all(height > 0 for height in heights)
    arrow = "getComputedStyle(document.querySelector('th button'), '::after').content"
    assert shown.page.evaluate(arrow) == "none"
    assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_scripts_a_page_reads_as_it_is_and_offers_nothing_that_does_not_work(opened, plain):
    shown = opened(plain, java_script_enabled=False)
    assert shown.page.locator("button").count() == 0
    assert shown.page.locator("table.sortable thead th").first.inner_text() == "Network"
    assert not shown.errors


SORTED = """
<p id="sorted"></p>
<table class="sortable"><thead><tr><th>Word</th><th>Number</th></tr></thead><tbody>
<tr><th>b</th><td>1,000</td></tr><tr><th>a</th><td>−2.5 to +9</td></tr><tr><th>C</th><td>–</td></tr>
<tr><th>d</th><td data-value="60">1 min</td></tr><tr><th>e</th><td>+3 ± 0.1</td></tr>
</tbody></table>
"""


@pytest.mark.parametrize(
    ("heading", "presses", "order"),
    [
        ("Word", 1, "abCde"),
        ("Word", 2, "edCba"),
        ("Number", 1, "bdeaC"),  # what is missing stays last
        ("Number", 2, "aedbC"),
    ],
)
def test_numbers_are_sorted_as_numbers_and_words_as_words(opened, tmp_path, heading, presses, order):
    from importlib import resources

    script = (resources.files("kdrecipes.report") / "page" / "sort.js").read_text(encoding="utf-8")
    file = tmp_path / "table.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8>{SORTED}<script>{script}</script>", encoding="utf-8")
    shown = opened(file)
    for _ in range(presses):
        shown.page.get_by_role("button", name=heading).press("Enter")
    assert "".join(shown.page.locator("tbody th").all_inner_texts()) == order
