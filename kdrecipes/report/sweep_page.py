"""sweep.html: a sweep's points side by side, from its sweep.json; the lead of the best from the points' files too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kdrecipes.disk.files import new_file
from kdrecipes.report.drawing import ROLES
from kdrecipes.report.heat_map import heat_map
from kdrecipes.report.short_verdicts import of_distillation, seeds_words
from kdrecipes.report.sweep_charts import sweep_chart
from kdrecipes.report.sweep_confirmed import confirmed_words
from kdrecipes.report.sweep_images import first_words, images_words
from kdrecipes.report.sweep_lead import lead_of, leading_words
from kdrecipes.report.sweep_results import Difference, Point, SweepResults, mean_of, ranked, read_sweep
from kdrecipes.report.sweep_words import (
    Compared,
    columns_of,
    compared_with,
    is_plain,
    point_words,
    unfinished,
    value_words,
)
from kdrecipes.report.templates import filled
from kdrecipes.wording import points

CHANGES = "What it changes"  # the heading of the column that tells it in one text


def write_sweep_page(folder: Path) -> None:
    """Write `sweep.html` beside the `sweep.json` of a sweep's folder, atomically.

    Raises:
        UsageError: when sweep.json is missing, damaged or of another version.
    """
    sweep = read_sweep(folder)
    page = render_sweep(sweep, lead_of(folder, ranked(sweep["points"])))
    with new_file(folder / "sweep.html", "w") as file:
        file.write(page)


def render_sweep(sweep: SweepResults, lead: Difference | None = None) -> str:
    """The page, the same for the same argument.

    Args:
        sweep: fits `schemas/sweep.schema.json`.
        lead: the best point minus the second, from `lead_of`. Default: their pairs are not known.
    """
    done, columns, compared = ranked(sweep["points"]), columns_of(sweep["points"]), compared_with(sweep["points"])
    return filled(
        "sweep.html.jinja",
        "sweep.css",
        sweep=sweep,
        leading=leading_words(sweep, done, lead),
        standing=standing_words(sweep),
        other_images=images_words(sweep["points"]),
        columns=columns,
        texts=[not is_plain(sweep["points"], key) for key in columns] or [True],
        point_words=point_words,
        compared=compared,
        headings=_headings(columns, compared.values()),
        rows=[_row(point, columns, compared) for point in done],
        first_missing=first_words(sweep["points"]),
        unfinished=unfinished(sweep["points"]),
        map=heat_map(sweep["points"]),
        chart=None if heat_map(sweep["points"]) else sweep_chart(sweep),
        roles=ROLES,
        verdict=of_distillation,
        seeds_words=seeds_words,
        confirmed_note=confirmed_words(sweep),
        difference=difference_words,
        over=_over(done),
        changing_data=any(key.partition(".")[0] == "dataset" for key in sweep["swept"]),
        several=len(sweep["seeds"]),
    )


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


def _headings(columns: Sequence[str], compared: Iterable[str]) -> list[str]:
    beside = [f"Minus {what}, points" for what in compared]
    return ["Rank", "Point", "Validation accuracy, %", *(columns or [CHANGES]), *beside, "Time", "Trained"]


def _row(point: Point, columns: Sequence[str], compared: Iterable[Compared]) -> dict[str, Any]:
    """A line of the table of points: its accuracy, its `settings` and its `differences` as texts, and its figures."""
    found = point["validation_accuracy"]
    spread = "" if found is None or found["sd"] is None else f" ±\u00a0{100 * found['sd']:.2f}"
    trained, shared = point["arms_trained"], point["arms_shared"]
    return {
        "rank": point["rank"],
        "point": point["point"],
        "accuracy": f"{100 * mean_of(point):.2f}{spread}",
        "settings": [value_words(point["changes"][key]) for key in columns] or [point_words(point)],
        "differences": [difference_words(point[key]) for key in compared],
        "seconds": point["seconds"],
        "trained": f"{trained} of {trained + shared}",
    }
