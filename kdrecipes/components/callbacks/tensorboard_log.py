"""`tensorboard`: curves, parameters and the final table as event files, without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdrecipes.components.callbacks.event_file import EventFile
from kdrecipes.components.callbacks.following import Figures, Json, Start, follow
from kdrecipes.components.callbacks.logged import final_figures, markdown, parameters, table
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options


class TensorBoardLog:
    """A folder for each teacher and each arm, so that TensorBoard lays their curves over each other.

    Args:
        start: what every log is opened with.
        directory: where several runs have their folders; None: this one's is `tensorboard` in the run folder.
    """

    def __init__(self, start: Start, directory: str | None):
        self.recipe, self.files = start.recipe, dict[str, EventFile]()
        parent = Path(directory) if directory else start.folder
        self.id = start.id or (_unused(parent, start.folder.resolve().name) if directory else "tensorboard")
        self.root = parent / self.id

    def file(self, label: str) -> EventFile:
        """The event file of one label, begun when it is first asked for."""
        return self.files.setdefault(label, EventFile(self.root / label))

    def epochs(self, label: str, rows: list[tuple[int, Figures]]) -> None:
        """Points of the curves; an arm's first come after the recipe."""
        if rows[0][0] == 1 and not label.startswith("teacher"):
            arm, seed = label.rsplit("-", 1)
            flat = {"arm": arm, "seed": int(seed), **parameters(self.recipe)}
            self.file(label).hyperparameters({key: _plain(value) for key, value in flat.items()})
        for epoch, figures in rows:
            self.file(label).scalars(epoch, figures)

    def end(self, report: Json | None, folder: Path) -> None:
        """The test figures at each network's last epoch; recipe and final table as texts."""
        if report is None:
            return
        epochs = {f"{arm['arm']}-{arm['seed']}": arm["epochs"] for arm in report["arms"]}
        for label, figures in final_figures(report).items():
            self.file(label).scalars(epochs.get(label, 0), {f"final/{key}": value for key, value in figures.items()})
        rows: list[list[Any]] = [[key, value] for key, value in parameters(self.recipe).items()]
        self.file(".").text("recipe", markdown(["parameter", "value"], rows))
        self.file(".").text("report", f"{markdown(*table(report))}\nThe whole report: {folder.resolve()}/report.html\n")


def _unused(parent: Path, name: str) -> str:
    """The name, numbered where another run's files have it."""
    found, count = name, 2
    while (parent / found).exists():
        found, count = f"{name}-{count}", count + 1
    return found


def _plain(value: Any) -> Any:
    """A text of a number or a truth value as such, which HParams can sort and filter; any other as it is."""
    try:
        found = json.loads(value)
    except (TypeError, ValueError):
        return value
    return found if isinstance(found, bool | int | float) else value


def build(directory: str | None = None) -> Any:
    """The callback."""
    return follow("tensorboard", lambda: directory or "", lambda start: TensorBoardLog(start, directory))


build.tracker = True  # type: ignore[attr-defined]
build.extra, build.modules = "tensorboard", ("tensorboard",)  # type: ignore[attr-defined]

COMPONENT = Component(
    kind="callback",
    name="tensorboard",
    build=build,
    summary="curves of all arms, recipe and final table for TensorBoard; needs no TensorFlow",
    options=options(
        "callback",
        build,
        directory={
            "minLength": 1,
            "description": "Where each run gets a folder of its name; like `--out`, a relative path begins at the "
            "working directory. Default: `tensorboard` in the run folder.",
        },
    ),
)
