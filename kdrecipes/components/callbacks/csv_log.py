"""`csv_log`: each arm's epochs, and at the end what the run found, as tables in the run folder."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from kdrecipes.components.callbacks.following import Figures, Json, Start, follow
from kdrecipes.components.callbacks.logged import table
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.disk.files import new_file


class CsvLog:
    """Tables in a folder: `<arm>-<seed>.csv`, one row per epoch, and `results.csv`, one row for each network."""

    def __init__(self, start: Start):
        self.id, self.folder = "csv", start.folder

    def epochs(self, label: str, rows: list[tuple[int, Figures]]) -> None:
        """Add rows to a file, which keeps its columns, or begin it anew with the first epoch."""
        path = self.folder / f"{label}.csv"
        goes_on = rows[0][0] > 1 and path.is_file()
        lines: list[list[Any]] = list(csv.reader(path.read_text(encoding="utf-8").splitlines())) if goes_on else []
        columns = lines[0] if lines else ["epoch", *rows[0][1]]
        lines = [columns, *(line for line in lines[1:] if int(line[0]) < rows[0][0])]
        lines += [[epoch, *(figures.get(column, "") for column in columns[1:])] for epoch, figures in rows]
        _write(path, lines)

    def end(self, report: Json | None, folder: Path) -> None:
        """Write the final table."""
        if report is not None:
            columns, rows = table(report)
            _write(folder / "results.csv", [["network", *columns[1:]], *rows])


def _write(path: Path, lines: list[list[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    with new_file(path, "w") as file:
        file.write(text.getvalue())


def build() -> Any:
    """The callback."""
    return follow("csv_log", lambda: "", CsvLog)


build.tracker = True  # type: ignore[attr-defined]

COMPONENT = Component(
    kind="callback",
    name="csv_log",
    build=build,
    summary="tables in the run folder: each arm's epochs in <arm>-<seed>.csv, and results.csv",
    options=options("callback", build),
)
