"""The best points of a sweep run again: ordinary runs with seeds that no point used, and alone measured on test."""

from __future__ import annotations

from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.disk.files import locked
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.report.sweep_results import Point, ranked, standing_of
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.run import run
from kdrecipes.runs.sweep_folder import SweepFolder


def fresh_seeds(sweep: Sweep) -> list[int]:
    """As many seeds as a point has, the least that no point used."""
    return list(islice((seed for seed in count() if seed not in sweep.seeds), len(sweep.seeds)))


def confirm(sweep: Sweep, folder: SweepFolder, best: int, device: str, progress: Progress) -> None:
    """Run the best points again, those that are not confirmed yet, and write what test says of them into sweep.json.

    Args:
        sweep, folder: the sweep; its points are through.
        best: how many.
        device: as for `run`.
        progress: gets a line for each.

    Raises:
        RunError: when a run fails; the same command goes on with it.
    """
    seeds = fresh_seeds(sweep)
    for point in ranked(folder.read()["points"])[:best]:
        name, path = point["point"], folder.path / "confirm" / point["point"]
        with locked(folder.lock(f"confirm-{name}")):
            if any(one["point"] == name for one in folder.read()["confirmed"]):
                continue
            progress.note(f"confirming point {name} (rank {point['rank']}) with seeds {', '.join(map(str, seeds))}")
            report = run(sweep.changed(point["changes"], seeds), path, device=device)
            entry = _entry(point, Path("confirm") / name, seeds, report)
            with folder.update() as results:
                confirmed = [*results["confirmed"], entry]
                ranks = {one["point"]: one["rank"] for one in results["points"]}
                results["confirmed"] = sorted(confirmed, key=lambda one: ranks[one["point"]] or 0)
                results["status"] = standing_of(results)
            folder.write_page()


def _entry(point: Point, run: Path, seeds: list[int], report: dict[str, Any]) -> dict[str, Any]:
    arms = {arm: [one["test_accuracy"] for one in report["arms"] if one["arm"] == arm] for arm in ("kd", "baseline")}
    gain = report["comparison"].get("kd_minus_baseline")
    keys = ("mean", "ci95", "ci95_over", "seeds", "verdict")
    return {
        "point": point["point"],
        "rank": point["rank"],
        "run": run.as_posix(),
        "seeds": seeds,
        "test_accuracy": float(np.mean(arms["kd"] or arms["baseline"])),
        "baseline_test_accuracy": float(np.mean(arms["baseline"])) if arms["baseline"] else None,
        "kd_minus_baseline": {key: gain[key] for key in keys} if gain else None,
    }
