"""`kdrecipes describe`: a recipe's data, before any training; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, SetOption, collect_as_usual
from kdrecipes.cli.result import print_json, say, tell

if TYPE_CHECKING:
    from kdrecipes.data.prepare import Progress


def describe(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged recipe such as `digits`.")],
    overrides: SetOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    plugin: PluginOption = [],  # noqa: B006
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write one HTML page, with images.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a recipe's data before any training: images, classes, sizes, what is odd, what a run would refuse.

    Example:  kdrecipes describe my_photos.toml --html data.html

    Images are decoded once, into the store that a run of the recipe uses. The exit code is 1 where a run would refuse
    the data.
    """
    from kdrecipes.extras import need, telling_what_is_missing
    from kdrecipes.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides, plugins=plugin)
    need("`kdrecipes describe`", ("PIL",), "run")
    collect_as_usual()
    from kdrecipes.data.describing import check_description
    from kdrecipes.data.describing import describe as described
    from kdrecipes.report.data_words import description_text

    with telling_what_is_missing("`kdrecipes describe`"):
        with _bars() as progress:
            found = described(loaded, progress)
        check_description(found.facts)
        if html is not None:
            from kdrecipes.data.thumbnails import thumbnails
            from kdrecipes.report.data_page import write_data_page

            write_data_page(found.facts, thumbnails(found, loaded.seed), html)
            tell(f"page: {html}")
    if as_json:
        print_json(found.facts)
    else:
        say(description_text(found.facts))
    if found.facts["refused"]:
        raise typer.Exit(1)


@contextmanager
def _bars() -> Iterator[Progress | None]:
    """A bar for each split while the block runs, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    tasks: dict[str, Any] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:

        def step(name: str, done: int, total: int, size: int, unreadable: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield step
