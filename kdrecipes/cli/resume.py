"""`kdrecipes resume`: a run or a sweep that was stopped goes on, by its folder alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, QuietOption, VerboseOption, amount_shown
from kdrecipes.cli.run import carry_out


def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run or a sweep, such as runs/digits.")],
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, cuda:1 or mps. Default: where the run began.", show_default=False),
    ] = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run or a sweep that was stopped or killed; the recipe and its options come from the folder.

    It is the same as the command that began it. A finished run prints its report again, a finished sweep its table.
    What began with --plugin needs it here too: a folder loads no code by itself.

    Example:  kdrecipes resume runs/digits
    """
    began = time.monotonic()
    from kdrecipes.extras import need_run
    from kdrecipes.runs.resumed import resumed
    from kdrecipes.runs.resumed_sweep import is_sweep

    shown = amount_shown(quiet, verbose)
    if is_sweep(run):
        _sweep(run, plugin, shown, device=device, as_json=as_json)
        return
    recipe, before = resumed(run, plugin)
    need_run("`kdrecipes resume`")
    carry_out(began, recipe, run, shown, device=device or before, as_json=as_json)


def _sweep(folder: Path, plugins: list[Path], shown: str, *, device: str | None, as_json: bool) -> None:
    """Go on with a sweep; the arguments are those of `resume`."""
    from kdrecipes.cli import sweep as sweeps
    from kdrecipes.extras import need, need_run
    from kdrecipes.runs.provenance import going_on
    from kdrecipes.runs.resumed_sweep import resumed_sweep

    sweep, asked = resumed_sweep(folder, plugins)
    need_run("`kdrecipes resume`")
    if sweep.kind == "search":
        need("`kdrecipes resume` of a search", ("optuna",), "optuna")
    with going_on(asked.command):
        sweeps.carry_out(sweep, folder, shown, device=device or asked.device, best=asked.best, as_json=as_json)
