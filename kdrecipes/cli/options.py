"""What several verbs of the command line share: options that read alike, and how JSON is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
PluginOption = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE.py", help="Load a single-file plugin; repeatable.")
]


SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key (TOML), e.g. train.epochs=1.")
]


def print_json(value: Any) -> None:
    """The one object that `--json` promises."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
