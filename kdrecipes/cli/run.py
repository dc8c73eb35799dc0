"""`kdrecipes run`: from a recipe to a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdrecipes.cli.options import (
    JsonOption,
    PluginOption,
    QuietOption,
    SetOption,
    VerboseOption,
    amount_shown,
    collect_as_usual,
)
from kdrecipes.cli.result import interrupted, print_json, say, tell
from kdrecipes.errors import UsageError

if TYPE_CHECKING:
    from kdrecipes.recipe.tables import Recipe


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged recipe such as `digits`.")],
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/<name>.")] = None,
    overrides: SetOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    plugin: PluginOption = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start afresh in a folder that holds a run.")] = False,
    replay_step: Annotated[
        bool,
        typer.Option(
            "--replay-step", help="Run again the step that came to NaN or infinity; it changes nothing of the run."
        ),
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train teacher, baseline and distilled student; write the report.

    The same recipe in the same folder continues where it stopped; a finished run prints its report again.

    With --replay-step, where a loss, a gradient or a weight that is no number stopped a fit: go from its last state to
    that step, and print what the step computed and the first layer that went wrong.

    Example:  kdrecipes run digits --set train.epochs=3 --set loss.temperature=2 --out runs/try
    """
    began = time.monotonic()
    from kdrecipes.extras import need_run
    from kdrecipes.recipe.load import load_recipe

    shown = amount_shown(quiet, verbose)
    loaded = load_recipe(recipe, overrides, plugins=plugin)
    need_run("`kdrecipes run`")
    if replay_step:
        if overwrite:
            raise UsageError("Give either --replay-step, which changes nothing of the run, or --overwrite.")
        _replay(loaded, out, shown, device=device, as_json=as_json)
        return
    carry_out(began, loaded, out, shown, device=device, overwrite=overwrite, as_json=as_json)


def _replay(loaded: Recipe, out: Path | None, shown: str, *, device: str, as_json: bool) -> None:
    """Run a step again and print what it computed; the arguments are those of `carry_out`."""
    from kdrecipes.extras import telling_what_is_missing

    collect_as_usual()
    from kdrecipes.report.step_words import UNCHANGED, step_text
    from kdrecipes.runs.progress import showing
    from kdrecipes.runs.replay import replay_step

    try:
        with telling_what_is_missing("This recipe"), showing(shown):
            step = replay_step(loaded, out, device=device)
    except KeyboardInterrupt as error:  # here, since typer would end the process without a word
        tell(str(error) or f"Interrupted. {UNCHANGED}")
        raise typer.Exit(130) from None
    if as_json:
        print_json(step)
    else:
        say(step_text(step))


def carry_out(
    began: float,
    loaded: Recipe,
    out: Path | None,
    shown: str,
    *,
    device: str,
    overwrite: bool = False,
    as_json: bool,
) -> None:
    """Run a recipe and print its report.

    Args:
        began: when the command did, by `time.monotonic()`.
        loaded, out, device, overwrite: as for `kdrecipes.run`.
        shown: how much is told meanwhile, see `amount_shown`.
        as_json: whether the report is printed as JSON.
    """
    from kdrecipes.extras import telling_what_is_missing

    collect_as_usual()
    from kdrecipes.runs.progress import showing
    from kdrecipes.runs.run import run_since  # torch and keras: only once the recipe is known to be valid

    try:
        with telling_what_is_missing("This recipe"), showing(shown):
            report = run_since(began, loaded, out, device=device, overwrite=overwrite)
    except KeyboardInterrupt as error:  # here, since typer would end the process without a word
        tell(interrupted(error))
        raise typer.Exit(130) from None
    if as_json:
        print_json(report)
    else:
        from kdrecipes.report.table import summary_text

        say(summary_text(report))
