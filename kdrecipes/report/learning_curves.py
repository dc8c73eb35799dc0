"""Charts over epochs: validation, the loss on the labels, each distillation term."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kdrecipes.gradients import LABEL_LOSS, OF_ROW, OF_WEIGHT
from kdrecipes.report.drawing import DASHES, INK, MARKERS, ROLES, Chart, empty_figure, logarithmic, quiet, unit_above
from kdrecipes.report.history import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_TERM = {"arm", "seed", "epoch", "teacher", "accuracy", "loss", LABEL_LOSS, "val_accuracy", "val_loss"}
NO_TERM |= {"seconds", "steps"}
MOST_LINES = 40  # of a chart's table
MARKED = 12  # epochs; a longer line has no marker for each, and a line of one would be nothing without
LOG_FROM = 8  # times the epochs of the shortest line; a longer one would press it against the edge

Value = Callable[[Row], float | None]  # of a row of the history
Points = Mapping[tuple[str, str], Mapping[int, Mapping[int, float]]]  # role and teacher → seed → epoch → value


def learning_curves(rows: Sequence[Row]) -> Iterator[Chart]:
    """The charts that the history has points for."""
    yield from _chart(
        rows,
        "validation_accuracy",
        "Validation accuracy",
        "After each epoch, in percent of the validation images.",
        "%",
        lambda row: 100 * row["val_accuracy"] if "val_accuracy" in row else None,
    )
    losses: list[tuple[str, str, str, Value]] = [
        ("validation_loss", "Validation loss", "After each epoch: cross-entropy with the labels.", _of("val_loss")),
        (
            "label_loss",
            "Training loss on the labels",
            "Running mean over each epoch, without the distillation terms.",
            labels_part,
        ),
    ]
    for term in terms_of(rows):
        note = f"Running mean over each epoch, before its weight. {weight_words(rows, term)}"
        note += "Each term has a scale of its own."
        file = f"term_{re.sub(r'[^a-z0-9_-]', '_', term)}"
        losses.append((file, f"Distillation term {term}", note, _of(term)))
    note = "What the distilled student minimises: label loss and terms, each with its weight, and regularisers."
    losses.append(("whole_loss", "Whole loss of the distilled student", note, whole_loss))
    for name, title, note, value in losses:
        yield from _chart(rows, name, title, note, "nats" if not name.startswith(("term", "whole")) else "", value)


def terms_of(rows: Sequence[Row]) -> list[str]:
    """The names of the distillation terms, in the order of the history."""
    kept = (key for row in rows if row["arm"] == "kd" for key in row)
    return list(dict.fromkeys(key for key in kept if key not in NO_TERM and not key.startswith((OF_ROW, OF_WEIGHT))))


def weight_words(rows: Sequence[Row], term: str) -> str:
    """How a term's weight changed, in a sentence with a space after it; empty where it is constant."""
    found = [row for row in rows if row["arm"] == "kd" and f"{OF_WEIGHT}{term}" in row]
    if not found:
        return ""
    first, last = (f"{row[f'{OF_WEIGHT}{term}']:.3g} in epoch {row['epoch']}" for row in (found[0], found[-1]))
    ends = f"{first} and {last}" if first != last else first
    return f"Its weight follows a schedule: on average {ends}. "


def labels_part(row: Row) -> float | None:
    """Cross-entropy with the labels while training; a distilled student's whole loss is another thing."""
    part: float | None = row.get(LABEL_LOSS, None if row["arm"] == "kd" else row.get("loss"))
    return part


def whole_loss(row: Row) -> float | None:
    """Of a distilled student, where it is not one of its parts alone."""
    parts = [value for key, value in row.items() if key == LABEL_LOSS or key in terms_of([row])]
    whole: float | None = row.get("loss") if row["arm"] == "kd" else None
    return whole if whole not in parts else None


def _of(key: str) -> Value:
    return lambda row: row.get(key)


def _chart(rows: Sequence[Row], name: str, title: str, note: str, unit: str, value: Value) -> Iterator[Chart]:
    points = points_of(rows, value)
    if points:
        headings, lines = _numbers(points)
        note += " Epochs on a logarithmic scale." if unlike_in_length(points) else ""
        said = "; ".join(_said(key, seeds) for key, seeds in points.items())
        roles = list(dict.fromkeys(role for role, _ in points))
        yield Chart(name, title, note, f"{said}.", headings, lines, roles, partial(curves, points, unit))


def points_of(rows: Sequence[Row], value: Value) -> Points:
    """What the rows hold of a figure, teachers first."""
    points: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for row in rows:
        if (found := value(row)) is not None:
            of_seeds = points.setdefault((row["arm"], row.get("teacher", "")), {})
            of_seeds.setdefault(row["seed"], {})[row["epoch"]] = found
    return dict(sorted(points.items(), key=lambda item: list(ROLES).index(item[0][0])))


def unlike_in_length(points: Points) -> bool:
    """Whether some network trained for so many more epochs than another that epochs need a logarithmic scale."""
    ends = [max(epoch for line in seeds.values() for epoch in line) for seeds in points.values()]
    return max(ends) > LOG_FROM * min(ends)


def mean_of(seeds: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """By epoch, over the seeds; of the epochs that all of them have."""
    shared = sorted(set.intersection(*(set(line) for line in seeds.values())))
    return {epoch: float(np.mean([line[epoch] for line in seeds.values()])) for epoch in shared}


def curves(points: Points, unit: str) -> Figure:
    """A line for each teacher and role; of several seeds, a faint one for each and a strong one for their mean."""
    figure, axes = empty_figure()
    longest = max(epoch for seeds in points.values() for line in seeds.values() for epoch in line)
    for (role, _), seeds in points.items():
        color, style = INK[role], DASHES[role]
        for line in seeds.values() if len(seeds) > 1 else []:
            axes.plot(list(line), list(line.values()), color=color, linestyle=style, linewidth=0.8, alpha=0.45)
        mean = mean_of(seeds)
        marker = MARKERS[role] if len(mean) <= MARKED else ""
        axes.plot(list(mean), list(mean.values()), color=color, ls=style, lw=1.8, marker=marker, ms=4, clip_on=False)
    if unit != "%" and min(axes.get_ylim()) > 0:
        axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=6)
    _epochs(axes, points, longest)
    axes.set_xlabel("epoch")
    unit_above(axes, unit)
    quiet(axes)
    return figure


def _epochs(axes: Axes, points: Points, longest: int) -> None:
    from matplotlib.ticker import MaxNLocator

    if unlike_in_length(points):
        logarithmic(axes, 0.93, 1.07 * longest)
    else:
        margin = min(0.03 * (longest - 1), 0.5) or 0.5
        axes.set_xlim(1 - margin, longest + margin)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _who(role: str, teacher: str) -> str:
    return f"{ROLES[role]} {teacher}".strip()


def _said(key: tuple[str, str], seeds: Mapping[int, Mapping[int, float]]) -> str:
    mean = mean_of(seeds)
    of = f", mean of {len(seeds)} seeds" if len(seeds) > 1 else ""
    if not mean:
        return f"{_who(*key)}: no epoch that all seeds have"
    first, last = min(mean), max(mean)
    way = f"{mean[first]:.4g} after epoch {first}"
    return f"{_who(*key)}{of}: {way}" + (f", {mean[last]:.4g} after epoch {last}" if last > first else "")


def _numbers(points: Points) -> tuple[list[str], list[list[str]]]:
    """A column for each network, a line for each epoch; of many epochs, for some and the last."""
    columns = {
        _who(*key) + (f", seed {seed}" if len(seeds) > 1 else ""): line
        for key, seeds in points.items()
        for seed, line in seeds.items()
    }
    epochs = sorted({epoch for line in columns.values() for epoch in line})
    step = -(-len(epochs) // MOST_LINES)
    shown = epochs[step - 1 :: step] if len(epochs) % step == 0 else [*epochs[step - 1 :: step], epochs[-1]]
    lines = [
        [str(epoch), *(f"{line[epoch]:.4g}" if epoch in line else "–" for line in columns.values())] for epoch in shown
    ]
    return ["Epoch", *columns], lines
