"""`python -m benchmarks`: measures all rows, each part in a process of its own; a table, and the same as JSON."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import report
from benchmarks.parts import PARTS, measure_all
from benchmarks.rows import Setting
from kdrecipes.disk.files import write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "bench.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    numbers = sorted(number for part in PARTS.values() for number in part)
    parser.add_argument("--row", type=int, action="append", choices=numbers, help="only this row; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, only to see that everything runs")
    parser.add_argument("--gpu", action="store_true", help="rows 1 to 6 on a GPU: 224 px, batch 128, bfloat16")
    parser.add_argument("--out", type=Path, help=f"the JSON file; default for a full run: {RESULTS.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    if given.gpu and not torch.cuda.is_available():
        parser.error("--gpu: torch finds no CUDA device here")
    setting = Setting(given.quick, given.gpu)
    wanted = given.row or (numbers[:6] if given.gpu else numbers)
    started = time.monotonic()
    rows = measure_all(wanted, setting)
    command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)])
    found = report.document(rows, setting, time.monotonic() - started, command)
    print(report.table(found))
    out = given.out or (None if given.quick or given.gpu or given.row else RESULTS)
    if out is not None:
        write_json(out, found)
        print(f"written to {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
