"""What several verbs of the command line share: options, how often garbage is sought."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
PluginOption = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE.py", help="Load a single-file plugin; repeatable.")
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key (TOML), e.g. train.epochs=1; a table, loss={…}, is replaced as a whole.",
    ),
]


_THRESHOLDS = gc.get_threshold()


def collect_rarely() -> None:
    """Let Python look for garbage less often: loading a recipe makes little, and the search takes 2 % of `validate`."""
    gc.set_threshold(50_000)


def collect_as_usual() -> None:
    """Give Python its own thresholds back, for what trains and so lives long."""
    gc.set_threshold(*_THRESHOLDS)
