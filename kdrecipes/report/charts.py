"""The page's figures over epochs: SVG in colours that the page's CSS sets."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from kdrecipes.report.history import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROLES = {"teacher": "teacher", "baseline": "student, labels only", "kd": "student, distilled"}

# Colours as matplotlib is given them → the CSS variable that stands in the page.
_INK = {"teacher": "#00ff01", "baseline": "#00ff02", "kd": "#00ff03", "line": "#00ff04"}
_LINE = {"teacher": ("--", "^"), "baseline": ("-", "s"), "kd": ("-", "o")}
_TAG = re.compile(r"<[^>]*>")  # matplotlib escapes "<" in text and ">" in attributes


def curves(rows: Sequence[Row]) -> dict[str, Markup]:
    """The figures over epochs that the history has points for, as SVG by name."""
    import matplotlib

    figures = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc says
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kdrecipes", "font.size": 9})
        for name, draw in (("accuracy", validation_accuracy), ("loss", training_loss)):
            if figure := draw(rows):
                figures[name] = _svg(figure, name)
    return figures


def validation_accuracy(rows: Sequence[Row]) -> Figure | None:
    """Validation accuracy after each epoch."""
    return _curves(rows, "%", lambda row: 100 * row["val_accuracy"] if "val_accuracy" in row else None)


def training_loss(rows: Sequence[Row]) -> Figure | None:
    """Cross-entropy with the labels while training; a distilled student's whole loss has another scale."""
    return _curves(rows, "nats", lambda row: row.get("label_loss", None if row["arm"] == "kd" else row.get("loss")))


def _curves(rows: Sequence[Row], unit: str, value: Callable[[Row], float | None]) -> Figure | None:
    """A line for each teacher and role; of several seeds, a faint one for each and a strong one for their mean."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    points: dict[tuple[str, str], dict[int, dict[int, float]]] = {}  # by role and teacher
    for row in rows:
        if (found := value(row)) is not None:
            of_seeds = points.setdefault((row["arm"], row.get("teacher", "")), {})
            of_seeds.setdefault(row["seed"], {})[row["epoch"]] = found
    if not points:
        return None
    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    longest = max(epoch for seeds in points.values() for line in seeds.values() for epoch in line)
    for role, teacher in sorted(points, key=lambda key: list(ROLES).index(key[0])):
        color, (style, marker), seeds = _INK[role], _LINE[role], list(points[role, teacher].values())
        for line in seeds if len(seeds) > 1 else []:
            axes.plot(list(line), list(line.values()), color=color, linestyle=style, linewidth=0.8, alpha=0.45)
        shared = sorted(set.intersection(*(set(line) for line in seeds)))
        mean = [float(np.mean([line[epoch] for line in seeds])) for epoch in shared]
        marker = marker if longest <= 12 else ""
        axes.plot(shared, mean, color=color, linestyle=style, linewidth=1.8, marker=marker, markersize=4)
    margin = min(0.03 * (longest - 1), 0.5) or 0.5
    axes.set_xlim(1 - margin, longest + margin)
    if unit == "nats":
        axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit, rotation=0, horizontalalignment="right", y=1.0, verticalalignment="top")
    axes.tick_params(length=0)
    axes.grid(axis="y", color=_INK["line"], linewidth=0.7)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK["line"])
    return figure


def _svg(figure: Figure, name: str) -> Markup:
    """The figure as it stands in a page: as wide as its place, ids of its own, colours of the page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)

    def adapt(match: re.Match[str]) -> str:
        tag = re.sub(r'\bid="|url\(#|href="#', lambda found: f"{found[0]}{name}-", match[0])
        if tag.startswith("<svg"):
            tag = re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", tag)
        for role, colour in _INK.items():
            tag = tag.replace(colour, f"rgb(var(--{role}))")
        return tag

    text = buffer.getvalue()
    return Markup(_TAG.sub(adapt, text[text.index("<svg") :]))
