"""Sweeps that nobody made: the dict of a sweep.json, for tests of what is made of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdrecipes.report.sweep_results import check_sweep

LOSSES = ["kd", "dkd", "dist", "lskd", "nkd", "wsld", "ttm", "wttm", "abkd", "rld", "mlkd", "pkt", "rkd", "crd"]


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """The changes of every combination; `loss__temperature` is the key `loss.temperature`."""
    keys = [key.replace("__", ".") for key in values]
    return [dict(zip(keys, one, strict=True)) for one in itertools.product(*values.values())]


def losses(count: int) -> list[dict[str, Any]]:
    """The changes of points that each replace the loss."""
    return [{"loss": {"name": LOSSES[i % len(LOSSES)], "temperature": 1.0 + i // len(LOSSES)}} for i in range(count)]


def sweep(
    changes: Sequence[dict[str, Any]], seeds: int = 1, kind: str = "grid", baseline: bool = True, confirmed: int = 0
) -> dict[str, Any]:
    """A sweep whose points are all done; tests change what they need."""
    draw = np.random.default_rng(0)
    points = [_point(i, one, seeds, baseline, draw) for i, one in enumerate(changes)]
    for rank, point in enumerate(sorted(points, key=lambda one: -one["validation_accuracy"]["mean"]), 1):
        point["rank"] = rank
    best = sorted(points, key=lambda one: one["rank"])[:confirmed]
    made = {
        "schema_version": 1,
        "name": "invented",
        "status": "done",
        "command": "kdrecipes sweep invented.toml",
        "recipe_sha256": "a" * 64,
        "kind": kind,
        "swept": list(dict.fromkeys(key for one in changes for key in one)),
        "seeds": list(range(seeds)),
        "dataset": {"name": "digits", "fingerprint": "f" * 64, "classes": 10, "train": 1200, "validation": 300},
        "points": points,
        "importance": [{"key": key, "importance": 0.7 / (i + 1)} for i, key in enumerate(changes[0])]
        if kind == "search"
        else None,
        "confirmed": [_confirmed(point) for point in best],
        "trainings": {"without_sharing": 2 * seeds * len(points), "planned": seeds * (len(points) + 1), "done": 9},
        "seconds": 1234.0,
        "environment": {"versions": {"kdrecipes": "1.0", "torch": "2.9"}, "device": "cpu", "threads": 2, "git": None},
    }
    check_sweep(made)
    return made


def _point(number: int, changes: dict[str, Any], seeds: int, baseline: bool, draw: Any) -> dict[str, Any]:
    kd = [float(v) for v in draw.normal(0.82, 0.012) + draw.normal(0, 0.004, seeds)]
    plain = [0.811 + 0.001 * seed for seed in range(seeds)]
    of_seeds = [{"seed": i, "kd": kd[i], "baseline": plain[i] if baseline else None} for i in range(seeds)]
    gains = [a - b for a, b in zip(kd, plain, strict=True)]
    return {
        "point": f"{number:03d}",
        "changes": changes,
        "label": ", ".join(f"{key}={value}" for key, value in changes.items()),
        "status": "done",
        "message": None,
        "recipe_sha256": f"{number:064d}",
        "rank": None,
        "validation_accuracy": {
            "mean": float(np.mean(kd)),
            "sd": float(np.std(kd, ddof=1)) if seeds > 1 else None,
            "seeds": of_seeds,
        },
        "kd_minus_baseline": _difference(gains) if baseline else None,
        "kd_minus_first": _difference([gain - 0.01 for gain in gains]) if number else None,
        "arms_trained": seeds * (1 if number else 2),
        "arms_shared": seeds if number else 0,
        "seconds": 51.5,
    }


def _difference(gains: Sequence[float]) -> dict[str, Any]:
    mean = float(np.mean(gains))
    return {
        "mean": mean,
        "ci95": None if len(gains) == 2 else [mean - 0.011, mean + 0.011],
        "ci95_over": "validation images" if len(gains) == 1 else "seeds",
        "seeds": len(gains),
    }


def _confirmed(point: dict[str, Any]) -> dict[str, Any]:
    return {
        "point": point["point"],
        "rank": point["rank"],
        "run": f"confirm/{point['point']}",
        "seeds": [1000, 1001, 1002],
        "test_accuracy": 0.8314,
        "baseline_test_accuracy": 0.8201,
        "kd_minus_baseline": {
            "mean": 0.0113,
            "ci95": [0.002, 0.0206],
            "ci95_over": "seeds",
            "seeds": 3,
            "verdict": "helped",
        },
    }
