"""What `[report]` asks of a run that is finished: what it does not want any more is taken out of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdrecipes.disk.files import disk_errors
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.build import write_report
from kdrecipes.runs.folder import read_object

FILES = {"measure": "facts/measures.json", "images": "facts/pictures.npz"}  # by key: what the report has it from


def take_out(recipe: Recipe, run: Path, note: Callable[[str], None]) -> None:
    """Remove what the recipe leaves out of the report, and make the report anew without it.

    What it wants and the run was told to leave out comes too late, and is told.

    Args:
        recipe: the one that is asked for now.
        run: the folder of a finished run of it, locked.
        note: takes a line for the user.
    """
    told = read_object(run / "lock.json").get("recipe", {}).get("report", {})
    gone = []
    for key, file in FILES.items():
        wanted, there = getattr(recipe.report, key), (run / file).is_file()
        if there and not wanted:
            with disk_errors(run):
                (run / file).unlink()
            gone.append(f"report.{key} = false")
        if wanted and not there and told.get(key) is False:
            note(f"{run} was run with report.{key} = false: --overwrite makes the run anew with it")
    if gone:
        write_report(run)
        note(f"{run}: the report was made anew with {' and '.join(gone)}")
