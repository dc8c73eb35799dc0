"""The command line: verbs, exit codes, `--json`. stdout is the result, stderr is progress and problems."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kdrecipes.cli.cache import app as cache
from kdrecipes.cli.options import JsonOption, PluginOption, SetOption, print_json
from kdrecipes.cli.report import report
from kdrecipes.errors import KDRecipesError, Preempted, UsageError

app = typer.Typer(
    name="kdrecipes",
    help="Knowledge distillation by recipe: one file names a teacher, a student, a dataset and a loss.",
    epilog="Start with:  kdrecipes run digits   (no download, under a minute).   "
    "Exit codes: 0 done, 1 run failed, 2 recipe or usage, 3 environment or plugin, 130 interrupted, 143 preempted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Form(StrEnum):
    """How `kdrecipes validate` prints problems."""

    text = "text"
    github = "github"


class Topic(StrEnum):
    """What `kdrecipes list` can list."""

    models = "models"
    datasets = "datasets"
    losses = "losses"
    callbacks = "callbacks"
    recipes = "recipes"
    plugins = "plugins"


_KIND_OF = {Topic.models: "model", Topic.datasets: "dataset", Topic.losses: "loss", Topic.callbacks: "callback"}


def _version(wanted: bool) -> None:
    if wanted:
        import kdrecipes

        typer.echo(f"kdrecipes {kdrecipes.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged recipe such as `digits`.")],
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/<name>.")] = None,
    overrides: SetOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    plugin: PluginOption = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start afresh in a folder that holds a run.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train teacher, baseline and distilled student; write the report.

    The same recipe in the same folder continues where it stopped; a finished run prints its report again.

    Example:  kdrecipes run digits --set train.epochs=3 --set loss.temperature=2 --out runs/try
    """
    from kdrecipes.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides, plugins=plugin)
    from kdrecipes.runs.run import run as run_recipe  # torch and keras: only once the recipe is known to be valid

    try:
        report = run_recipe(loaded, out, device=device, overwrite=overwrite)
    except KeyboardInterrupt:  # here, since typer would end the process without a word
        typer.echo("Interrupted. The same command continues from the last whole epoch.", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(report)
    else:
        from kdrecipes.report.table import summary_text

        typer.echo(summary_text(report))


app.command()(report)


@app.command()
def validate(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Recipe files, folders of them, or names.")],
    overrides: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Also build the models and take two steps on black images; imports torch.")
    ] = False,
    classes: Annotated[
        int | None, typer.Option(min=2, help="For --dry-run: how many classes, where the data are not at hand.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the effective recipe, each value with where it came from.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say which package provides each component that is named.")
    ] = False,
    form: Annotated[
        Form, typer.Option("--format", help="text, or github: annotations of lines in a pull request.")
    ] = Form.text,
    as_json: JsonOption = False,
) -> None:
    """Check recipes without training or importing torch; every problem is reported at once.

    Example:  kdrecipes validate recipes/ --format github
    """
    from kdrecipes.cli.checks import check_file, recipe_files, result_json, result_text

    if classes is not None and not dry_run:
        raise UsageError("--classes says something to --dry-run only.")
    results = []
    for file in recipe_files(paths):
        result = check_file(file, overrides, plugin, dry=dry_run, classes=classes)
        results.append(result)
        if not as_json:
            typer.echo(result_text(result, form, show=show, verbose=verbose), err=not result.ok and form is Form.text)
    code = min((result.exit_code for result in results), key=[2, 3, 1, 0].index)  # a faulty recipe before all else
    if as_json:
        print_json({"ok": code == 0, "files": [result_json(result, show=show) for result in results]})
    raise typer.Exit(code)


@app.command("list")
def list_(
    topic: Annotated[Topic | None, typer.Argument(help="Default: everything.")] = None,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Show the installed models, datasets, losses, callbacks, recipes and plugins, and who provides them."""
    from kdrecipes.components.registry import load_registry
    from kdrecipes.recipe.source import packaged_recipes

    registry = load_registry(tuple(path.resolve() for path in plugin))
    listing: dict[str, list[dict[str, Any]]] = {}
    for shown in [topic] if topic else list(Topic):
        if shown in _KIND_OF:
            kind = _KIND_OF[shown]
            listing[shown] = [
                {"name": name, "summary": component.summary, "provider": str(provider)}
                for name in registry.names(kind)
                for component, provider in [registry.components[kind, name]]
            ]
        elif shown is Topic.recipes:
            listing[shown] = [{"name": name, "summary": _first_comment(name)} for name in packaged_recipes()]
        else:
            listing[shown] = [
                {
                    "name": p.provider.plugin,
                    "provider": str(p.provider),
                    "components": p.components,
                    "state": p.state,
                    "error": p.error,
                    "notes": p.notes,
                }
                for p in registry.plugins
            ]
            for (kind, name), owners in registry.conflicts.items():
                text = f"two plugins provide the {kind} {name!r}: {' and '.join(map(str, owners))}"
                listing[shown].append(
                    {"name": name, "provider": "", "components": [], "state": "conflict", "error": text, "notes": []}
                )
    if as_json:
        print_json(listing)
        return
    for heading, rows in listing.items():
        typer.echo(heading if rows else f"{heading}\n  (none)")
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            text = row.get("summary") or row.get("error") or ", ".join(row.get("components", []))
            who = f"  [{row['provider']}]" if row.get("provider") else ""
            state = f"{row['state']}: " if row.get("state") not in (None, "ok") else ""
            typer.echo(f"  {row['name']:<{width}}  {state}{text}{who}".rstrip())
            for note in row.get("notes", []):
                typer.echo(f"  {'':<{width}}  note: {note}")


def _first_comment(name: str) -> str:
    """A recipe's first comment line that is not an editor directive: what it is, for the listing."""
    from importlib import resources

    text = (resources.files("kdrecipes.packaged_recipes") / f"{name}.toml").read_text(encoding="utf-8")
    comments = [line[2:].strip() for line in text.splitlines() if line.startswith("# ")]
    return comments[0].partition("   ")[0] if comments else ""


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
    plugin: PluginOption = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="The schema is JSON with or without this.")] = False,
) -> None:
    """Print one JSON schema of recipes with everything that is installed, for editors."""
    from kdrecipes.components.registry import load_registry
    from kdrecipes.recipe.editor_schema import composed_schema

    text = json.dumps(
        composed_schema(load_registry(tuple(path.resolve() for path in plugin))), indent=2, ensure_ascii=False
    )
    if out is None:
        typer.echo(text)
    else:
        try:
            out.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--out {out}: can't be written: {error.strerror}.") from error


app.add_typer(cache, name="cache")

new = typer.Typer(help="Start a recipe or a plugin of your own.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(new, name="new")


@new.command("recipe")
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
    from kdrecipes.recipe import scaffold as new

    file = new.new_recipe(name, student=student, dataset=dataset, teacher=teacher, loss=loss, out=out, plugins=plugin)
    typer.echo(f"{file}")


@new.command("plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="The distribution's name, such as kdrecipes-mine.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write. Default: ./NAME.")] = None,
) -> None:
    """Write an installable package with a model, a dataset, a loss, their tests and a recipe.

    Example:  kdrecipes new plugin kdrecipes-mine
    """
    from kdrecipes.recipe import scaffold as new

    folder = new.new_plugin(name, out)
    typer.echo(f"{folder}")
    typer.echo(f"Next:  cd {folder} && pip install -e '.[test]' && pytest && kdrecipes run recipe.toml", err=True)


def main() -> None:
    """Entry point: turns every known error into its message and exit code; with --json into an object on stdout too."""
    try:
        app()
    except (KDRecipesError, Preempted) as error:
        typer.echo(str(error), err=True)
        if "--json" in sys.argv[1:]:
            problems = [problem.asdict() for problem in getattr(error, "problems", ())]
            print_json({"ok": False, "error": str(error), "problems": problems})
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("Interrupted. The same command continues from the last whole epoch.", err=True)
        sys.exit(130)
