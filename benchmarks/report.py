"""The measured rows as a document, and as a table to read."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, Setting

Document = dict[str, Any]
_SPEED = ("OMP_", "MKL_", "KMP_AFFINITY", "KMP_BLOCKTIME", "MALLOC_", "LD_PRELOAD")
HEAD = ["row", "what is divided by what", "ratio", "interquartile range", "goal", "reached"]


def document(rows: Sequence[Row], setting: Setting, seconds: float, command: str) -> Document:
    """What `results/bench.json` holds."""
    return {
        "machine": machine(setting),
        "rows": [asdict(row) | {"iqr": list(row.iqr)} for row in rows],
        "quick": setting.quick,
        "seconds": round(seconds, 1),
        "command": command,
    }


def machine(setting: Setting) -> dict[str, Any]:
    """What the figures were measured on; variables of the environment that change torch's speed are among it."""
    import torch

    variables = {k: v for k, v in os.environ.items() if k.startswith(_SPEED)}
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if setting.gpu else "cpu",
        "precision": setting.precision,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("kdrecipes", "keras", "torch", "numpy", "geffnet")},
        "environment": dict(sorted(variables.items())),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cells(found: Document) -> list[list[str]]:
    """The table's cells as text, without its head."""
    return [_cells(row) for row in found["rows"]]


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["iqr"]
    goal = reached = "–"
    if row["goal"] is not None:
        at_least = row["direction"] == "at least"
        goal = f"{'≥' if at_least else '≤'} {row['goal']:g}"
        reached = "yes" if (row["ratio"] >= row["goal"] if at_least else row["ratio"] <= row["goal"]) else "no"
    return [str(row["row"]), row["name"], _short(row["ratio"]), f"{_short(low)}–{_short(high)}", goal, reached]


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table(found: Document) -> str:
    """For a terminal: the rows, below each its absolute figures, and the machine."""
    lines = [HEAD, *cells(found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    for i, row in reversed(list(enumerate(found["rows"], 1))):
        text.insert(i + 1, "       " + " · ".join(f"{name} {value}" for name, value in row["figures"].items()))
    return "\n".join([*text, "", sentence(found)])


def sentence(found: Document) -> str:
    """Where and with what the figures were measured."""
    m = found["machine"]
    device = "" if m["device"] == "cpu" else f"{m['device']}, {m['precision']}, "
    quick = "QUICK RUN, NO MEASUREMENT. " if found["quick"] else ""
    return (
        f"{quick}{device}{m['cores']} CPU cores ({m['cpu']}), {m['threads']} threads, Python {m['python']}, "
        f"torch {m['torch']}, Keras {m['keras']}; {found['seconds'] / 60:.0f} minutes in all."
    )
