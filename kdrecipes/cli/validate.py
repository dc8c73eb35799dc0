"""`kdrecipes validate`: recipes checked, and on request tried, without training."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, SetOption, collect_as_usual
from kdrecipes.cli.result import print_json, say, tell
from kdrecipes.errors import UsageError


class Form(StrEnum):
    """How `kdrecipes validate` prints problems."""

    text = "text"
    github = "github"


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
    if dry_run:
        collect_as_usual()
    results = []
    for file in recipe_files(paths):
        result = check_file(file, overrides, plugin, dry=dry_run, classes=classes)
        results.append(result)
        if not as_json:
            text = result_text(result, form, show=show, verbose=verbose)
            if result.ok or form is Form.github:
                say(text)
            else:
                tell(text)
    code = min((result.exit_code for result in results), key=[2, 3, 1, 0].index)  # a faulty recipe before all else
    if as_json:
        print_json({"ok": code == 0, "files": [result_json(result, show=show) for result in results]})
    raise typer.Exit(code)
