"""`kdrecipes sweep`: many recipes that differ in a few keys, trained and ranked by validation."""

from __future__ import annotations

from contextlib import suppress
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
from kdrecipes.errors import Preempted, UsageError

if TYPE_CHECKING:
    from kdrecipes.recipe.sweep import Sweep

_GRID = "Values of a key (TOML), loss.temperature=1,2,4; repeatable. For --search also a range, 1..8 or 1e-4..1e-2:log."


def sweep(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged recipe such as `digits`.")],
    grid: Annotated[list[str], typer.Option("--grid", metavar="KEY=V,V…", help=_GRID)] = [],  # noqa: B006
    points: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .toml or .json file: points = [{ loss = { … } }, …].")
    ] = None,
    search: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Draw N points from --grid by Optuna (TPE), and stop poor ones early.",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="Of every point. Default: the recipe's.")] = None,
    confirm: Annotated[
        int, typer.Option(metavar="K", min=0, help="Run the best K again with fresh seeds, and measure them on test.")
    ] = 0,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be trained; train nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder. Default: runs/<name>-sweep.")] = None,
    overrides: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start afresh in a folder that holds a sweep.")
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare values of a recipe's keys: train every combination, rank them by validation accuracy.

    Points share what is equal: data, teacher, its outputs, students. Stopped, the same command goes on; given in
    several terminals, it shares the work. Without --grid and --points the recipe's [sweep] says what is compared.

    Example:  kdrecipes sweep digits --grid loss.temperature=1,2,4 --grid loss.weight=0.3,0.9 --confirm 1
    """
    from kdrecipes.extras import need, need_run
    from kdrecipes.recipe.sweep import load_sweep
    from kdrecipes.recipe.sweep_text import seeds_option

    def note(text: str) -> None:
        tell(text)

    shown = amount_shown(quiet, verbose)
    asked = seeds_option(seeds) if seeds is not None else None
    loaded = load_sweep(
        recipe,
        overrides,
        plugins=plugin,
        grid=grid,
        points=points,
        search=search,
        seeds=asked,
        note=note,
    )
    need_run("`kdrecipes sweep`")
    if search is not None:
        need("`kdrecipes sweep --search`", ("optuna",), "optuna")
    collect_as_usual()
    if plan:
        from kdrecipes.report.sweep_table import plan_text
        from kdrecipes.runs.sweep_plan import plan_of

        planned = plan_of(loaded, out, overwrite=overwrite, best=confirm, note=note)
        print_json(planned) if as_json else say(plan_text(planned))
        return
    carry_out(loaded, out, shown, device=device, overwrite=overwrite, best=confirm, as_json=as_json)


def carry_out(
    loaded: Sweep,
    out: Path | None,
    shown: str,
    *,
    device: str,
    overwrite: bool = False,
    best: int,
    as_json: bool,
) -> None:
    """Run a sweep and print its table.

    Args:
        loaded, out, device, overwrite, best: as for `run_sweep`.
        shown: how much is told meanwhile, see `amount_shown`.
        as_json: whether the results are printed as JSON.

    Raises:
        typer.Exit: with 130 at Ctrl-C, with 1 when every point failed.
    """
    from kdrecipes.extras import telling_what_is_missing

    collect_as_usual()
    from kdrecipes.report.sweep_table import sweep_text
    from kdrecipes.runs.progress import showing
    from kdrecipes.runs.sweep import run_sweep  # torch and keras: only once every point is known to be valid
    from kdrecipes.runs.sweep_folder import place_of

    place = place_of(loaded, out)
    try:
        with telling_what_is_missing("This sweep"), showing(shown):
            results = run_sweep(loaded, place, device=device, overwrite=overwrite, best=best)
    except KeyboardInterrupt as error:  # here, since typer would end the process without a word
        _say_what_is_done(place, as_json)
        tell(interrupted(error))
        raise typer.Exit(130) from None
    except Preempted:
        _say_what_is_done(place, as_json)
        raise
    if as_json:
        print_json(results)
    else:
        say(sweep_text(results))
    if results["status"] == "failed":
        raise typer.Exit(1)


def _say_what_is_done(place: Path, as_json: bool) -> None:
    """The table of a sweep that was stopped; no JSON, which is the result of one that ended."""
    from kdrecipes.report.sweep_results import read_sweep
    from kdrecipes.report.sweep_table import sweep_text

    if not as_json:
        with suppress(UsageError):  # it was stopped before it began
            say(sweep_text(read_sweep(place)))
