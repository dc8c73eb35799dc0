"""Charts take more than half of the time of a small run's report: tests that do not look at them leave them out."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from kdrecipes.report import build, templates

HERE = Path(__file__).parent
# What looks at the page and its figures, or makes a report twice and compares.
LOOKING = (
    "browser",
    "cli",
    "project",
    "report",
    "runs/test_changed_data.py",
    "runs/test_pictures.py",
    "runs/test_push.py",
    "studies",
)
# Of these what asks for text alone.
NOT_LOOKING = ("report/test_advice.py", "report/test_verdict.py")
_REAL = build.files_of, templates.in_page


def draw_for(test: Path) -> None:
    """Draw charts from here on as the test of that file needs it."""

    def among(places: tuple[str, ...]) -> bool:
        return any(test.is_relative_to(HERE / place) for place in places)

    draw_charts(among(LOOKING) and not among(NOT_LOOKING))


def draw_charts(wanted: bool) -> None:
    """Whether reports that this process makes have charts."""
    build.files_of, templates.in_page = _REAL if wanted else (lambda chart: {}, lambda *given: Markup(""))
