"""What accuracy costs: each network's against its latency, its size and its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kdrecipes.report.drawing import INK, MARKERS, ROLES, Chart, empty_figure, logarithmic, quiet, unit_above
from kdrecipes.report.facts import Report
from kdrecipes.report.intervals import over_seeds, share_over_images
from kdrecipes.report.table import table_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG_FROM = 10.0  # times the smallest; a wider span is drawn on a logarithmic scale


@dataclass(frozen=True)
class Spot:
    """A network: its `role`, who it `is_`, the cost, and its accuracy (mean, of each seed, 95% interval or None).

    `most` is what 95 of 100 calls cost at most, where that is known.
    """

    role: str
    is_: str
    cost: float
    accuracy: float
    seeds: list[float]
    ci95: list[float] | None
    most: float | None = None


def tradeoffs(report: Report) -> Iterator[Chart]:
    """A chart for each cost that is known of a teacher and of a student."""
    kinds = (
        ("accuracy_latency", "latency of one image", "ms", "Latency, ms", _latency, 1.0),
        ("accuracy_size", "size on disk", "MB", "Size, MB", lambda one: one.get("size_bytes"), 1e-6),
        ("accuracy_parameters", "parameters", "millions", "Parameters, millions", lambda one: one.get("params"), 1e-6),
    )
    shown = 0
    for name, words, unit, heading, cost, factor in kinds:
        if name == "accuracy_parameters" and shown == 2:
            continue  # the size says the same
        spots = spots_of(report, cost, factor)
        if cost is _latency:
            late = spots_of(report, lambda one: _time_of(one, "p95"), factor)
            ends = {spot.is_: spot.cost for spot in late}
            spots = [replace(spot, most=ends.get(spot.is_)) for spot in spots]
        if len({spot.role for spot in spots}) > 1 and len({spot.cost for spot in spots}) > 1:
            shown += 1
            yield _chart(spots, name, words, unit, heading)


def _latency(entry: Mapping[str, Any]) -> float | None:
    return _time_of(entry, "median")


def _time_of(entry: Mapping[str, Any], which: str) -> float | None:
    found: float | None = entry.get("latency_ms", {}).get("1", {}).get(which)
    return found


def spots_of(report: Report, cost: Any, factor: float) -> list[Spot]:
    """The networks whose cost is known, in the order of the first table.

    Args:
        cost: gives an entry of the report its cost, or None.
        factor: from the report's unit to the chart's.
    """
    spots = []
    for row in table_rows(report):
        costs = [found for entry in row["of"] if (found := cost(entry)) is not None]
        accuracies = [entry["test_accuracy"] for entry in row["of"]]
        if not costs:
            continue
        ci95 = None
        if len(accuracies) == 1:
            ci95 = share_over_images(accuracies[0], report["dataset"]["test"])
        elif len(accuracies) > 2:
            ci95 = over_seeds(accuracies)
        spots.append(Spot(row["role"], row["who"], factor * float(np.mean(costs)), row["accuracy"], accuracies, ci95))
    return spots


def _chart(spots: list[Spot], name: str, words: str, unit: str, heading: str) -> Chart:
    return Chart(
        name=name,
        title=f"Test accuracy against {words}",
        note=_note(spots),
        said="; ".join(f"{s.is_}: {100 * s.accuracy:.2f} % at {s.cost:.3g} {unit}" for s in spots) + ".",
        headings=["", heading, "Test accuracy, %", "95% interval"],
        lines=[[s.is_, f"{s.cost:.3g}", f"{100 * s.accuracy:.2f}", _ends(s.ci95)] for s in spots],
        roles=[role for role in ROLES if any(spot.role == role for spot in spots)],
        draw=partial(scatter, spots, unit),
    )


def _note(spots: Sequence[Spot]) -> str:
    seeds = max(len(spot.seeds) for spot in spots)
    sentences = {
        1: "Whiskers: 95% intervals over test images.",
        2: "Whiskers: a teacher’s 95% interval over test images; two seeds are too few for one. Faint: the seeds.",
    }
    three = "Whiskers: 95% intervals, a teacher’s over test images, the students’ over seeds. Faint: the seeds."
    beside = " The students cost the same and stand side by side." if _alike(spots) else ""
    if any(spot.most for spot in spots):
        beside = " To the right: what 95 of 100 calls stay below."
        if sum(spot.role != "teacher" for spot in spots) > 1:
            beside += " The two students are one architecture: what their latencies differ by is chance."
    return f"{sentences.get(seeds, three)}{beside} Up and to the left is better."


def _ends(ci95: Sequence[float] | None) -> str:
    return f"{100 * ci95[0]:.2f} to {100 * ci95[1]:.2f}" if ci95 else "–"


def _alike(spots: Sequence[Spot]) -> bool:
    """Whether there are two students that cost the same."""
    costs = [spot.cost for spot in spots if spot.role != "teacher"]
    return len(costs) > 1 and len(set(costs)) == 1


def scatter(spots: Sequence[Spot], unit: str) -> Figure:
    """Accuracy over cost; where it spans more than ten times, on a logarithmic scale."""
    from matplotlib.transforms import ScaledTranslation

    figure, axes = empty_figure()
    costs = [cost for spot in spots for cost in (spot.cost, spot.most or spot.cost)]
    beside = _alike(spots)
    for spot in spots:
        colour, marker = INK[spot.role], MARKERS[spot.role]
        aside = {"baseline": -4, "kd": 4}.get(spot.role, 0) / 72 if beside else 0.0  # inches: equal costs, two places
        place = axes.transData + ScaledTranslation(aside, 0, figure.dpi_scale_trans)
        if spot.ci95:
            ends = [100 * end for end in spot.ci95]
            axes.plot([spot.cost] * 2, ends, color=colour, linewidth=1.4, alpha=0.7, transform=place)
        if len(spot.seeds) > 1:
            faint = [100 * one for one in spot.seeds]
            axes.plot([spot.cost] * len(faint), faint, marker, color=colour, markersize=4, alpha=0.3, transform=place)
        if spot.most:
            axes.plot([spot.cost, spot.most], [100 * spot.accuracy] * 2, color=colour, linewidth=1.4, alpha=0.4)
        axes.plot([spot.cost], [100 * spot.accuracy], marker, color=colour, markersize=7, transform=place)
        reach = [100 * one for one in [*spot.seeds, *(spot.ci95 or [])]]
        axes.update_datalim([(spot.cost, min(reach)), (spot.cost, max(reach))])
    if max(costs) > LOG_FROM * min(costs) > 0:
        logarithmic(axes, min(costs) / 1.6, max(costs) * 1.6)
    else:
        axes.set_xlim(0, 1.15 * max(costs))
    axes.autoscale_view(scalex=False)
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=6)
    axes.set_xlabel(unit)
    unit_above(axes, "%")
    quiet(axes, lines="both")
    return figure
