"""`kdrecipes compare`: finished runs side by side; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption
from kdrecipes.cli.result import print_json, say, tell
from kdrecipes.errors import UsageError


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN…", help="Folders of finished runs, or a folder of such folders.")
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write one HTML page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare finished runs on test, paired with the first one by seed and test image; nothing is trained or measured.

    Example:  kdrecipes compare runs/kd runs/dist --html compare.html

    Runs on other test images or seeds can't be paired with the first: the reason is told, and the exit code is 2.
    """
    from kdrecipes.extras import telling_what_is_missing
    from kdrecipes.report.compare_words import comparison_text

    with telling_what_is_missing("`kdrecipes compare`"):  # SciPy, and for the page matplotlib
        from kdrecipes.report.compare import check_comparison, compare_runs
        from kdrecipes.report.compare_page import write_comparison_page

        found = compare_runs(runs)
        check_comparison(found)
        if html is not None:
            write_comparison_page(found, html)
            tell(f"page: {html}")
    if as_json:
        print_json(found)
    else:
        say(comparison_text(found))
    if found["left_out"]:
        raise UsageError("\n".join(one["why"] for one in found["left_out"]))
