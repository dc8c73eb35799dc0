"""history.jsonl, read: a line for each epoch of a teacher or a student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdrecipes.disk.json_files import parsed
from kdrecipes.disk.summed_files import read_summed

Row = Mapping[str, Any]
_TEXTS = ("arm", "teacher")


def read_history(file: Path) -> list[Row]:
    """The epochs of a run, in order of training: `arm`, `seed`, `epoch`, figures; of several teachers, `teacher` too.

    Raises:
        OSError: when it can't be read.
        ValueError: when a line is no epoch of a run.
    """
    rows = [parsed(line) for line in read_summed(file).splitlines()]
    for number, row in enumerate(rows, 1):
        whole = isinstance(row, dict) and {"arm", "seed", "epoch"} <= row.keys()
        whole = whole and ("val_accuracy" in row or row["arm"] == "teacher")  # not validated after each of its epochs
        if not whole or not all(type(v) is str if k in _TEXTS else type(v) in (int, float) for k, v in row.items()):
            raise ValueError(f"line {number} is no epoch of a run")
    return rows
