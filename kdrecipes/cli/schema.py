"""`kdrecipes schema`: one JSON schema of recipes, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import PluginOption
from kdrecipes.cli.result import say
from kdrecipes.errors import UsageError


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
        say(text)
    else:
        try:
            out.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--out {out}: can't be written: {error.strerror}.") from error
