"""`kdrecipes report`: the report of a finished run, made again from its folder; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption
from kdrecipes.cli.result import print_json, say, tell


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    as_json: JsonOption = False,
) -> None:
    """Make report.json, report.html and MODEL_CARD.md again from a finished run; nothing is trained or measured.

    Example:  kdrecipes report runs/digits
    """
    from kdrecipes.extras import telling_what_is_missing
    from kdrecipes.report.table import summary_text

    with telling_what_is_missing("`kdrecipes report`"):  # SciPy, scikit-learn, matplotlib
        from kdrecipes.report.build import rebuild_report

        found = rebuild_report(run)
    tell(f"report: {run / 'report.html'}")
    if as_json:
        print_json(found)
    else:
        say(summary_text(found))
