"""`kdrecipes push`: a folder with a student and its model card, to be published as it is; no network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption
from kdrecipes.cli.result import print_json, say, tell


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run, such as runs/digits.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to lay out: a new one, or an empty one.")],
    arm: Annotated[str, typer.Option(help="kd or baseline.")] = "kd",
    seed: Annotated[int | None, typer.Option(help="Of the student. Default: the first one.")] = None,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="Leave out report.html, which may show test images.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of the same names; all others stay.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Lay out a folder that huggingface_hub.upload_folder takes as it is. Nothing is sent anywhere.

    It holds the model card as README.md, the student as a file and as Keras opens it from hf://, what `kdrecipes
    export` wrote of it, the report and the recipe. The line of Python that publishes it is printed.

    Example:  kdrecipes push runs/digits --to hub/digits
    """
    from kdrecipes.runs.push import push as lay_out

    found = lay_out(run, to, arm=arm, seed=seed, page=not no_page, overwrite=overwrite)
    if found.left:
        tell(f"left as it was in {to}: {', '.join(found.left)}")
    if no_page and "report.html" in found.left:
        tell(f"{to / 'report.html'} is there from before, and would be published: remove it.")
    if "report.html" in found.files:
        tell("report.html is in it, which may show test images; --no-page leaves it out.")
    tell("README.md says how the student was made, with the command and the recipe: read it first.")
    if as_json:
        print_json({**asdict(found), "folder": str(found.folder)})
        return
    say(str(found.folder))
    say(found.upload)
