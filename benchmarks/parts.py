"""Which module measures which rows, and how: each in a process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from benchmarks.rows import Row, Setting

PARTS = {"steps": (1, 2), "inference": (3,), "epochs": (4,), "whole": (5, 6), "input": (7,), "overhead": (8,)}
TERMS = {"terms": (9, 10)}  # what a term costs: rows of a file of their own


def measure(part: str, setting: Setting) -> list[Row]:
    """The rows of one part, in this process."""
    from kdrecipes.backend import keep_freed_memory, keras

    keep_freed_memory()  # as a run does; hand-written torch has it too, stock Keras what a Keras process has
    with keras.device(setting.device):
        rows = importlib.import_module(f"benchmarks.{part}").measure(setting)
    # The goals are set for a CPU.
    return [replace(row, goal=None, reach=None) for row in rows] if setting.gpu else rows


def measure_all(wanted: Iterable[int], setting: Setting) -> list[Row]:
    """The wanted rows; a process for each part, so that none finds another's memory and threads."""
    rows: list[Row] = []
    wanted = set(wanted)
    for part, numbers in (PARTS | TERMS).items():
        if not wanted.intersection(numbers):
            continue
        print(f"measuring {part} …", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            rows += [row for row in process.submit(measure, part, setting).result() if row.row in wanted]
    return sorted(rows, key=lambda row: row.row)
