"""The images of the page in a browser: they are there, under its own policy, named, and no wider than a phone."""

from __future__ import annotations

import pytest
from samples import small

import kdrecipes


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of a small run whose teacher sees larger images than the student."""
    folder = tmp_path_factory.mktemp("images") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        kdrecipes.run(small("teacher.image_size=12", "dataset.views.mixup=0.5"), folder)
    return folder / "report.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_every_image_is_drawn_and_named_and_fits_the_width(opened, report, width, dark):
    shown = opened(report, width=width, dark=dark)
    images = shown.page.locator(".pictures img")
    assert images.count() > 24
    told = images.evaluate_all("all => all.map(i => [i.naturalWidth, i.alt, i.getBoundingClientRect().right])")
    for drawn, text, right in told:
        assert drawn in (8, 12) and text.startswith(("Test image ", "Training image, ")) and right <= width
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.requests[0] == report.as_uri() and all(one.startswith("data:") for one in shown.requests[1:])
    assert not shown.errors
