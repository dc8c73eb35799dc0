"""`kdrecipes new recipe|plugin`: something of one's own to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import PluginOption
from kdrecipes.cli.result import result_only, say, tell

app = typer.Typer(help="Start a recipe or a plugin of your own.", no_args_is_help=True, rich_markup_mode=None)


@app.command("recipe")
@result_only
def new_recipe(
    name: Annotated[str, typer.Argument(help="The recipe's name, which its run folder has too.")],
    student: Annotated[str, typer.Option(help="A model: `kdrecipes list models`.")],
    dataset: Annotated[str, typer.Option(help="A dataset: `kdrecipes list datasets`.")],
    teacher: Annotated[str | None, typer.Option(help="A model. Without it the student learns from labels.")] = None,
    loss: Annotated[str | None, typer.Option(help="A loss: `kdrecipes list losses`. Default: kd.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: NAME.toml.")] = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Write a commented recipe that is valid as it is.

    Example:  kdrecipes new recipe mine --teacher cnn --student cnn --dataset digits
    """
    from kdrecipes.recipe import scaffold

    file = scaffold.new_recipe(
        name, student=student, dataset=dataset, teacher=teacher, loss=loss, out=out, plugins=plugin
    )
    say(f"{file}")


@app.command("plugin")
@result_only
def new_plugin(
    name: Annotated[str, typer.Argument(help="The distribution's name, such as kdrecipes-mine.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write. Default: ./NAME.")] = None,
) -> None:
    """Write an installable package with a model, a dataset, a loss, their tests and a recipe.

    Example:  kdrecipes new plugin kdrecipes-mine
    """
    from kdrecipes.recipe import scaffold

    folder = scaffold.new_plugin(name, out)
    say(f"{folder}")
    tell(f"Next:  cd {folder} && pip install -e '.[test]' && pytest && kdrecipes run recipe.toml")
