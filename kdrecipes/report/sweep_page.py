"""sweep.html: a sweep's points side by side, from its sweep.json alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kdrecipes.disk.files import new_file
from kdrecipes.report.drawing import ROLES
from kdrecipes.report.heat_map import heat_map
from kdrecipes.report.sweep_charts import sweep_chart
from kdrecipes.report.sweep_results import Difference, Point, SweepResults, mean_of, ranked, read_sweep
from kdrecipes.report.sweep_words import columns_of, is_plain, point_words, unfinished, value_words
from kdrecipes.report.templates import filled
from kdrecipes.wording import points

CHANGES = "What it changes"  # the heading of the column that tells it in one text
VERDICTS = {
    "helped": "distilled is better",
    "hurt": "distilled is worse",
    "same": "practically the same",
    "unclear": "can’t tell",
    None: "–",
}


def write_sweep_page(folder: Path) -> None:
    """Write `sweep.html` beside the `sweep.json` of a sweep's folder, atomically.

    Raises:
        UsageError: when sweep.json is missing, damaged or of another version.
    """
    page = render_sweep(read_sweep(folder))
    with new_file(folder / "sweep.html", "w") as file:
        file.write(page)


def render_sweep(sweep: SweepResults) -> str:
    """The page, the same for the same argument.

    Args:
        sweep: fits `schemas/sweep.schema.json`.
    """
    done, columns = ranked(sweep["points"]), columns_of(sweep["points"])
    return filled(
        "sweep.html.jinja",
        "sweep.css",
        sweep=sweep,
        leading=leading_words(sweep, done),
        standing=standing_words(sweep),
        columns=columns,
        texts=[not is_plain(sweep["points"], key) for key in columns] or [True],
        point_words=point_words,
        headings=_headings(columns, done),
        rows=[_row(point, columns, done) for point in done],
        unfinished=unfinished(sweep["points"]),
        map=heat_map(sweep["points"]),
        chart=None if heat_map(sweep["points"]) else sweep_chart(sweep),
        roles=ROLES,
        verdicts=VERDICTS,
        difference=difference_words,
        over=_over(done),
        changing_data=any(key.partition(".")[0] == "dataset" for key in sweep["swept"]),
        several=len(sweep["seeds"]),
    )


def leading_words(sweep: SweepResults, done: Sequence[Point]) -> str:
    """Which point is first, in a sentence or two."""
    if not done:
        return "No point is done yet."
    best, seeds = done[0], len(sweep["seeds"])
    mean = f"{100 * mean_of(best):.2f} %" + (f", the mean of {seeds} seeds" if seeds > 1 else "")
    text = f"First by validation accuracy: point {best['point']}, {point_words(best)} ({mean})."
    if len(done) > 1:
        apart = points(mean_of(best) - mean_of(done[1])).lstrip("+")
        text += f" It is {apart} points ahead of the second, point {done[1]['point']}, {point_words(done[1])}."
    return text


def standing_words(sweep: SweepResults) -> str:
    """How far a sweep came, where that is not its end; else empty."""
    count = len(sweep["points"])
    by = [point["status"] for point in sweep["points"]]
    done, failed = by.count("done"), by.count("failed")
    of = f"{done:,} of {count:,} points are done"
    if sweep["status"] == "running":
        return f"This sweep is running: {of}. What stands here can change."
    if sweep["status"] == "stopped":
        return f"This sweep was stopped: {of}. The same command goes on."
    if failed:
        return f"{failed:,} of {count:,} points failed. What they said stands below."
    return ""


def difference_words(found: Difference | None) -> str:
    """A difference in points and its interval, where it has one; a dash where there is none."""
    if not found:
        return "–"
    return points(found["mean"]) + (f" ({interval_words(found)})" if found["ci95"] else "")


def interval_words(found: Difference | None) -> str:
    """The ends of a difference's interval in points; a dash where it has none."""
    return f"{points(found['ci95'][0])} to {points(found['ci95'][1])}" if found and found["ci95"] else "–"


def _over(done: Sequence[Point]) -> str:
    """What the intervals of differences are over: "validation images", "seeds", or nothing."""
    found = [d for p in done for d in (p["kd_minus_baseline"], p["kd_minus_first"]) if d and d["ci95"]]
    return str(found[0]["ci95_over"]) if found else ""


_TO: dict[Literal["kd_minus_baseline", "kd_minus_first"], str] = {
    "kd_minus_baseline": "labels only",
    "kd_minus_first": "the first point",
}


def _headings(columns: Sequence[str], done: Sequence[Point]) -> list[str]:
    beside = [f"Minus {what}, points" for key, what in _TO.items() if any(point[key] for point in done)]
    return ["Rank", "Point", "Validation accuracy, %", *(columns or [CHANGES]), *beside, "Time", "Trained"]


def _row(point: Point, columns: Sequence[str], done: Sequence[Point]) -> dict[str, Any]:
    """A line of the table of points: its accuracy, its `settings` and its `differences` as texts, and its figures."""
    found = point["validation_accuracy"]
    spread = "" if found is None or found["sd"] is None else f" ±\u00a0{100 * found['sd']:.2f}"
    trained, shared = point["arms_trained"], point["arms_shared"]
    return {
        "rank": point["rank"],
        "point": point["point"],
        "accuracy": f"{100 * mean_of(point):.2f}{spread}",
        "settings": [value_words(point["changes"][key]) for key in columns] or [point_words(point)],
        "differences": [difference_words(point[key]) for key in _TO if any(other[key] for other in done)],
        "seconds": point["seconds"],
        "trained": f"{trained} of {trained + shared}",
    }
