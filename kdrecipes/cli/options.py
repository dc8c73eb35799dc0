"""What several verbs of the command line share: options, how often garbage is sought."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.errors import UsageError

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
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show warnings and errors alone; log.txt has all.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Also show what was decided and how long parts took.")]


def amount_shown(quiet: bool, verbose: bool) -> str:
    """How much a run tells on stderr: "quiet", "normal" or "verbose".

    Raises:
        UsageError: when both are asked for.
    """
    if quiet and verbose:
        raise UsageError("Give either --quiet or --verbose, not both.")
    return "quiet" if quiet else "verbose" if verbose else "normal"


_THRESHOLDS = gc.get_threshold()


def collect_rarely() -> None:
    """Let Python look for garbage less often: loading a recipe makes little, and the search takes 2 % of `validate`."""
    gc.set_threshold(50_000)


def collect_as_usual() -> None:
    """Give Python its own thresholds back, for what trains and so lives long."""
    gc.set_threshold(*_THRESHOLDS)
