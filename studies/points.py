"""Many runs of one recipe with other values, each in a folder of its own: a finished one is read, not run again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import kdrecipes

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "studies"
Report = dict[str, Any]


def run_points(recipe: str, points: Mapping[str, Iterable[str]], folder: Path = RUNS) -> dict[str, Report]:
    """The reports of a packaged recipe's runs, by the point's name.

    Args:
        recipe: the recipe's name.
        points: by name, what `--set` would say.
        folder: of the runs; each is `folder/<recipe>/<name>`.
    """
    reports = {}
    for name, overrides in points.items():
        print(f"{recipe}: {name}", file=sys.stderr, flush=True)
        asked = kdrecipes.load_recipe(ROOT / "recipes" / f"{recipe}.toml", list(overrides))
        reports[name] = kdrecipes.run(asked, folder / recipe / name)
    return reports


def arms_of(report: Report, arm: str) -> list[Report]:
    """A report's rows of one arm, "baseline" or "kd"."""
    return [row for row in report["arms"] if row["arm"] == arm]


def write(name: str, found: Any) -> None:
    """Write `results/<name>.json`."""
    file = ROOT / "results" / f"{name}.json"
    file.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(file)
