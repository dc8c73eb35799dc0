"""What a point of a sweep costs against a lone run of its recipe: `python -m benchmarks.sweep`.

Both are commands in processes of their own, each with an empty KDRECIPES_HOME: the run prepares data, teacher and
outputs for itself, the sweep does so for all of its points. The run is repeated; its median counts. The sweep's points
differ in the temperature and the weight of one term, so each has a distilled student of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GOAL = 0.35  # of a lone run, for each of 24 points with one seed


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: one JSON object on stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--recipe", default="digits", help="a recipe whose [loss] has a temperature and a weight")
    parser.add_argument("--quick", action="store_true", help="two points of one epoch, only to see that it runs")
    parser.add_argument("--out", type=Path, help="a JSON file too")
    given = parser.parse_args(arguments)
    found = measure(given.recipe, quick=given.quick)
    text = json.dumps(found, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


def measure(recipe: str, *, quick: bool = False) -> dict[str, Any]:
    """Seconds of a lone run, of a sweep of 24 points, and of a point as a share of the run."""
    temperatures, weights = ([1, 2], [0.5]) if quick else ([1, 1.5, 2, 3, 4, 6, 8, 12], [0.3, 0.5, 0.9])
    changes = ["train.epochs=1", "teacher.train.epochs=1", "report.measure=false"] if quick else []
    grid = [f"loss.temperature={','.join(map(str, temperatures))}", f"loss.weight={','.join(map(str, weights))}"]
    points = len(temperatures) * len(weights)
    runs = [_seconds("run", recipe, changes) for _ in range(1 if quick else 3)]
    sweep = _seconds("sweep", recipe, changes, grid)
    lone = statistics.median(runs)
    return {
        "recipe": recipe,
        "points": points,
        "lone_run_seconds": [round(one, 2) for one in runs],
        "sweep_seconds": round(sweep, 2),
        "point_to_lone_run": round(sweep / points / lone, 4),
        "goal": GOAL,
    }


def _seconds(verb: str, recipe: str, changes: Sequence[str], grid: Sequence[str] = ()) -> float:
    """The wall time of a command with an empty home and an empty folder."""
    options = [part for one in changes for part in ("--set", one)] + [part for one in grid for part in ("--grid", one)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kdrecipes", verb, recipe, *options, "--out", f"{folder}/out"]
        began = time.monotonic()
        done = subprocess.run(
            command, env={**os.environ, "KDRECIPES_HOME": f"{folder}/home"}, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return time.monotonic() - began


if __name__ == "__main__":
    main()
