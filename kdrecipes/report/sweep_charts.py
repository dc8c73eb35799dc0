"""Charts of a sweep: validation accuracy along one swept number, or what each point gained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from kdrecipes.report.drawing import DASHES, INK, MARKERS, Chart, empty_figure, logarithmic, quiet, unit_above
from kdrecipes.report.intervals import over_seeds, share_over_images
from kdrecipes.report.per_class import short
from kdrecipes.report.sweep_results import Point, SweepResults, mean_of, ranked
from kdrecipes.report.sweep_words import columns_of, share_keys, short_words, value_words
from kdrecipes.wording import points as as_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DRAWN = 40  # points; of more, the best by validation
LOG_FROM = 10  # times the least value; a wider span is drawn on a logarithmic scale


class Spot(NamedTuple):
    """One value of the swept key, one role: the accuracy (mean over seeds) and its 95% interval, or None."""

    at: float
    accuracy: float
    ci95: list[float] | None


class Bar(NamedTuple):
    """One point: its words, its figure and the figure's 95% interval, or None; all are shares."""

    name: str
    value: float
    ci95: Sequence[float] | None


def sweep_chart(sweep: SweepResults) -> Chart | None:
    """Lines where one number was swept, else a bar for each point; None where no two points are done."""
    done = ranked(sweep["points"])
    if len(done) < 2:
        return None
    keys = columns_of(sweep["points"])
    values = [point["changes"][keys[0]] for point in done] if len(keys) == 1 else []
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if values and len(numbers) == len(values) and len(set(numbers)) > 1:
        return _lines_chart(keys[0], done, (sweep["dataset"] or {"validation": 0})["validation"])
    return _bars_chart(done, share_keys(sweep["points"]))


def _lines_chart(key: str, done: Sequence[Point], images: int) -> Chart:
    spots = {"baseline": _plain_spots(key, done), "kd": sorted(_spot(key, point, images) for point in done)}
    spots = {role: found for role, found in spots.items() if found}
    seeds = _seeds(done[0])
    best = done[0]
    apart = " of distilled − labels only: where one reaches the other line, they can’t be told apart"
    return Chart(
        name="along",
        title=f"Validation accuracy along {key}",
        note=f"In percent of the validation images. {_whiskers(seeds, apart if len(spots) > 1 else '')}",
        said=f"The best is {key} = {value_words(best['changes'][key])} with {100 * mean_of(best):.2f} %.",
        headings=[key, *(f"{_HEADINGS[role]}, %" for role in spots), "95% interval as drawn"],
        lines=[_line(at, spots) for at in sorted({spot.at for found in spots.values() for spot in found})],
        roles=list(spots),
        draw=partial(lines, spots, key),
    )


_HEADINGS = {"baseline": "Labels only", "kd": "Distilled"}


def _seeds(point: Point) -> int:
    found = point["validation_accuracy"]
    return len(found["seeds"]) if found else 0


def _whiskers(seeds: int, what: str = "") -> str:
    if seeds == 2:
        return "Two seeds are too few for intervals."
    return f"Whiskers: 95% intervals over {'validation images' if seeds == 1 else 'seeds'}{what}."


def _plain_spots(key: str, done: Sequence[Point]) -> list[Spot]:
    """Of the students on labels only, which need no interval: that of the difference is drawn."""
    spots = []
    for point in done:
        each = _each(point, "baseline")
        if each and _each(point, "kd"):  # a point without a distilled student is told by the other line
            spots.append(Spot(_at(key, point), sum(each) / len(each), None))
    return sorted(spots)


def _each(point: Point, role: Literal["kd", "baseline"]) -> list[float]:
    """The accuracies of a role's students, by seed."""
    found = point["validation_accuracy"]
    return [value for one in (found["seeds"] if found else []) if (value := one[role]) is not None]


def _at(key: str, point: Point) -> float:
    return float(point["changes"][key])


def _spot(key: str, point: Point, images: int) -> Spot:
    """Of the distilled students; the interval is that of the difference to labels only, where there is one."""
    each, mean, gain = _each(point, "kd") or _each(point, "baseline"), mean_of(point), point["kd_minus_baseline"]
    ci95 = None
    if gain:
        ci95 = gain["ci95"] and [mean + end - gain["mean"] for end in gain["ci95"]]
    elif len(each) == 1 and images:
        ci95 = share_over_images(each[0], images)
    elif len(each) > 2:
        ci95 = over_seeds(each)
    return Spot(_at(key, point), mean, ci95)


def _line(at: float, spots: dict[str, list[Spot]]) -> list[str]:
    of = {role: next((one for one in found if one.at == at), None) for role, found in spots.items()}
    return [
        value_words(at),
        *(f"{100 * spot.accuracy:.2f}" if spot else "–" for spot in of.values()),
        _ends(of["kd"].ci95 if of["kd"] else None),
    ]


def _ends(ci95: Sequence[float] | None) -> str:
    return f"{100 * ci95[0]:.2f} to {100 * ci95[1]:.2f}" if ci95 else "–"


def lines(spots: dict[str, list[Spot]], key: str) -> Figure:
    """A line with whiskers for each role."""
    figure, axes = empty_figure()
    for role, found in spots.items():
        places = [spot.at for spot in found]
        for spot in found:
            if spot.ci95:
                axes.plot([spot.at] * 2, [100 * end for end in spot.ci95], color=INK[role], linewidth=1.4, alpha=0.6)
        accuracies = [100 * spot.accuracy for spot in found]
        axes.plot(places, accuracies, color=INK[role], ls=DASHES[role], lw=1.8, marker=MARKERS[role], ms=5)
    values = [spot.at for found in spots.values() for spot in found]
    if max(values) > LOG_FROM * min(values) > 0:
        logarithmic(axes, min(values) / 1.3, max(values) * 1.3)
    elif all(value == int(value) for value in values):
        axes.locator_params(axis="x", integer=True)
    axes.locator_params(axis="y", nbins=6)
    axes.set_xlabel(key, parse_math=False)
    unit_above(axes, "%")
    quiet(axes)
    return figure


def _bars_chart(done: Sequence[Point], shared: bool) -> Chart:
    shown = done[:MOST_DRAWN]
    gains = all(point["kd_minus_baseline"] for point in shown)
    bars = [_bar(point, shared, gains) for point in shown]
    seeds = _seeds(done[0])
    whiskers = f" {_whiskers(seeds)}" if gains else ""
    best_only = f"The best {MOST_DRAWN} of {len(done):,} points by validation. " if len(done) > len(shown) else ""
    heading, unit = ("Distilled − labels only, points", "points") if gains else ("Validation accuracy, %", "%")
    title = "What each point gains on validation" if gains else "Validation accuracy of each point"
    what = "Distilled − labels only, in points of accuracy. The line at 0 is the student on labels only."
    best = max(bars, key=lambda bar: bar.value)
    return Chart(
        name="points",
        title=title,
        note=f"{best_only}{what if gains else 'In percent of the validation images.'}{whiskers}",
        said=f"The largest: {best.name}, {_figure(best.value, gains)} {unit}.",
        headings=["Point", heading, "95% interval"],
        lines=[[bar.name, _figure(bar.value, gains), _interval(bar, gains)] for bar in bars],
        roles=["kd"],
        draw=partial(bars_figure, bars, gains),
    )


def _bar(point: Point, shared: bool, gains: bool) -> Bar:
    name = short_words(point, shared)
    gain = point["kd_minus_baseline"] if gains else None
    return Bar(name, gain["mean"], gain["ci95"]) if gain else Bar(name, mean_of(point), None)


def _figure(value: float, gains: bool) -> str:
    return as_points(value) if gains else f"{100 * value:.2f}"


def _interval(bar: Bar, gains: bool) -> str:
    return f"{_figure(bar.ci95[0], gains)} to {_figure(bar.ci95[1], gains)}" if bar.ci95 else "–"


def bars_figure(bars: Sequence[Bar], gains: bool) -> Figure:
    """A bar from 0 for each gain, or a dot for each accuracy, the first on top."""
    figure, axes = empty_figure((4.6, max(1.6, 0.7 + 0.21 * len(bars))))
    heights = [-float(i) for i in range(len(bars))]
    colour, widths = INK["kd"], [100 * bar.value for bar in bars]
    if gains:
        axes.barh(heights, widths, height=0.62, color=colour, alpha=0.45)
        axes.axvline(0, color=INK["muted"], linewidth=0.9)
    else:
        axes.plot(widths, heights, "o", color=colour, markersize=5)
    for height, bar in zip(heights, bars, strict=True):
        if bar.ci95:
            axes.plot([100 * end for end in bar.ci95], [height] * 2, color=colour, linewidth=1.6)
    axes.set_yticks(heights, [short(bar.name) for bar in bars], parse_math=False)
    axes.set_ylim(heights[-1] - 0.6, 0.6)
    axes.set_xlabel("points of validation accuracy" if gains else "validation accuracy, %")
    quiet(axes, lines="x")
    axes.spines["bottom"].set_visible(False)
    return figure
