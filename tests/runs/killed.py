"""A run killed at a random moment and made again, over and over: `python killed.py FOLDER TIMES SEED`, for a test.

Prints what was not as it should be, one line each. Each process is a fork of this one, which has computed nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
from samples import short

import kdrecipes


def forked(folder: Path, seconds: float = 0.0) -> int:
    """Run the recipe in a process of its own, which the system ends after so many seconds; 0: never. Its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    os.environ["KDRECIPES_HOME"] = str(folder / "home")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if seconds:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends a process as SIGKILL does: no handler, no finally
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        kdrecipes.run(short("train.epochs=2", "train.save_every_seconds=0", "compare.baseline=false"), folder / "run")
        os._exit(0)
    except BaseException as error:
        print(f"{folder.name}: {error!r}", flush=True)
        os._exit(1)


def result(folder: Path) -> list[object]:
    """What a run ends with, times aside."""
    rows = [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]
    report = json.loads((folder / "run" / "report.json").read_text())
    return [
        [{key: value for key, value in row.items() if key != "seconds"} for row in rows],
        report["arms"] and [{k: v for k, v in arm.items() if k not in ("seconds", "time")} for arm in report["arms"]],
        (folder / "run" / "predictions.npz").read_bytes(),
    ]


def main(folder: Path, times: int, seed: int) -> None:
    """Kill as often."""
    began = time.monotonic()
    forked(folder / "whole")
    took, draw, expected = time.monotonic() - began, random.Random(seed), result(folder / "whole")
    files = {path.relative_to(folder / "whole") for path in (folder / "whole").rglob("*")}
    for number in range(times):
        place, moment = folder / str(number), draw.uniform(0.0, took)
        forked(place, moment)
        told = f"killed after {moment:.3f} of {took:.3f} s"
        if forked(place):
            print(f"{told}: the same command does not complete", flush=True)
        elif result(place) != expected:
            print(f"{told}: it ends with another result", flush=True)
        elif left := {path.relative_to(place) for path in place.rglob("*")} - files:
            print(f"{told}: left {sorted(map(str, left))}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
