"""`kdrecipes resume`: a run that was stopped goes on, by its folder alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, QuietOption, VerboseOption, amount_shown
from kdrecipes.cli.run import carry_out


def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run, such as runs/digits.")],
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, cuda:1 or mps. Default: where the run began.", show_default=False),
    ] = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped or killed; the recipe and its options come from the run folder.

    It is the same as the command that began the run. A finished run prints its report again. A run that began with
    --plugin needs it here too: a folder loads no code by itself.

    Example:  kdrecipes resume runs/digits
    """
    began = time.monotonic()
    from kdrecipes.extras import need_run
    from kdrecipes.runs.resumed import resumed

    shown = amount_shown(quiet, verbose)
    recipe, before = resumed(run, plugin)
    need_run("`kdrecipes resume`")
    carry_out(began, recipe, run, shown, device=device or before, as_json=as_json)
