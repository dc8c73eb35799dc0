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
from benchmarks.parts import PARTS, TERMS, measure_all
from benchmarks.rows import Row, Setting
from kdrecipes.disk.files import write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "bench.json"
TERM_COSTS = ROOT / "results" / "term_costs.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    numbers, of_terms = (sorted(n for part in parts.values() for n in part) for parts in (PARTS, TERMS))
    parser.add_argument("part", nargs="?", choices=["terms"], help="only what each term of a loss costs")
    parser.add_argument(
        "--row", type=int, action="append", choices=numbers + of_terms, help="only this; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="tiny shapes, only to see that everything runs")
    parser.add_argument("--gpu", action="store_true", help="rows 1 to 6 on a GPU: 224 px, batch 128, bfloat16")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"one JSON file of all rows; a full run's default: {RESULTS.relative_to(ROOT)}, and of terms "
        f"{TERM_COSTS.relative_to(ROOT)}",
    )
    given = parser.parse_args(arguments)
    if given.gpu and not torch.cuda.is_available():
        parser.error("--gpu: torch finds no CUDA device here")
    if given.part and (given.row or given.gpu):
        parser.error("terms: takes neither --row nor --gpu")
    setting = Setting(given.quick, given.gpu)
    wanted = of_terms if given.part else given.row or (numbers[:6] if given.gpu else numbers + of_terms)
    started = time.monotonic()
    rows = measure_all(wanted, setting)
    seconds = time.monotonic() - started
    command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)])
    kept = not (given.quick or given.gpu or given.row)
    for default, some in {given.out: rows}.items() if given.out else by_file(rows).items():
        found = report.document(some, setting, seconds, command)
        print(report.table(found))
        if given.out or kept:
            write_json(default, found)
            print(f"written to {default}", file=sys.stderr)


def by_file(rows: Sequence[Row]) -> dict[Path, list[Row]]:
    """The rows by the file that a full run writes them to; no file without rows."""
    of_terms = {number for numbers in TERMS.values() for number in numbers}
    files = {path: [row for row in rows if (row.row in of_terms) == terms] for path, terms in _FILES}
    return {path: some for path, some in files.items() if some}


_FILES = ((RESULTS, False), (TERM_COSTS, True))

if __name__ == "__main__":
    main()
