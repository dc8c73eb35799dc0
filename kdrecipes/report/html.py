"""report.html: one self-contained page; what was measured, how sure it is, how it was made.

Text from outside is escaped by the template, all of it. Figures are SVG in colours that the page's CSS sets.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from kdrecipes.recipe.effective import effective_toml
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.build import Report
from kdrecipes.report.table import table_rows
from kdrecipes.report.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

ROLES = {"teacher": "teacher", "baseline": "student, labels only", "kd": "student, distilled"}
MATRIX_UP_TO = 20  # classes; above, the confusions are a table only
MEASURES = {  # of the first table, beside accuracy, parameters and time: key → heading, factor, decimals
    "top5": ("Top-5 accuracy, %", 100, 2),
    "macro_f1": ("Macro F1, %", 100, 2),
    "ece": ("ECE, %", 100, 2),
    "test_loss": ("Test loss, nats", 1, 3),
    "agreement": ("Agreement with the teacher, %", 100, 2),
}

# Colours as matplotlib is given them → the CSS variable that stands in the page.
_INK = {"teacher": "#00ff01", "baseline": "#00ff02", "kd": "#00ff03", "line": "#00ff04"}
_LINE = {"teacher": ("--", "^"), "baseline": ("-", "s"), "kd": ("-", "o")}
_TAG = re.compile(r"<[^>]*>")  # matplotlib escapes "<" in text and ">" in attributes


def render(
    report: Report,
    recipe: Recipe,
    classes: Sequence[str],
    rows: Sequence[Row],
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
) -> str:
    """The page, the same for the same arguments.

    Args:
        report: fits `schemas/report.schema.json`.
        recipe: of the run.
        classes: the class names.
        rows: the history, a row for each arm, seed and epoch; the arm "teacher" among them.
        logits: (test images, classes) by "teacher" and arm label such as "kd-0".
        labels: int64 (test images,).
    """
    import jinja2

    from kdrecipes.wording import readable_seconds

    found = {role: [logits[f"{role}-{row['seed']}"] for row in report["arms"] if row["arm"] == role] for role in ROLES}
    found["teacher"] = [logits["teacher"]] if report["teacher"] else []
    counts = {role: _confusion(values, labels) for role, values in found.items() if values}
    best = list(counts)[-1]  # the distilled student, where there is one
    headings, table = measured(report)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.2f}",
        "points": lambda share: f"{100 * share:+.2f}".replace("-", "−"),
        "duration": readable_seconds,
    }
    template = (resources.files("kdrecipes.report") / "report.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        report=report,
        recipe=recipe,
        effective=effective_toml(recipe),
        roles=ROLES,
        verdict=verdict(report),
        headings=headings,
        table=table,
        best=best,
        seeds=len(found[best]),
        curves=curves(rows),
        drawn=[arm for arm in ROLES if any(row["arm"] == arm for row in rows)],
        matrix=matrix(counts[best], classes) if len(classes) <= MATRIX_UP_TO else None,
        classes=classes,
        upright=all(len(name) <= 3 for name in classes),
        compared=list(counts),
        confusions=confusions(counts, best, classes, 8 if len(classes) <= MATRIX_UP_TO else 15),
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # names of files may hold what no text can


def measured(report: Report) -> tuple[list[str], list[dict[str, Any]]]:
    """The first table: its headings, and for each of teacher and students its role, name and cells."""
    from kdrecipes.wording import readable_seconds

    of = {role: [row for row in report["arms"] if row["arm"] == role] for role in ("baseline", "kd")}
    of = {"teacher": [report["teacher"]] if report["teacher"] else [], **of}
    keys = [key for key in MEASURES if any(key in row for rows in of.values() for row in rows)]
    table = []
    for role, row in zip([role for role in ROLES if of[role]], table_rows(report), strict=True):
        spread = "" if row["spread"] is None else f" ±\u00a0{100 * row['spread']:.2f}"
        cells = [f"{100 * row['accuracy']:.2f}{spread}"]
        for key in keys:
            _, factor, decimals = MEASURES[key]
            values = [entry[key] for entry in of[role] if key in entry]
            cells.append(f"{factor * float(np.mean(values)):.{decimals}f}" if values else "–")
        cells += [f"{row['params']:,}", readable_seconds(row["seconds"]) if row["seconds"] else "–"]
        table.append({"role": role, "who": row["who"], "cells": cells})
    return ["Test accuracy, %", *(MEASURES[key][0] for key in keys), "Parameters", "Training time"], table


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
    """A line for each role; where it has several seeds, a faint one for each and a strong one for their mean."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    points: dict[str, dict[int, dict[int, float]]] = {}
    for row in rows:
        if (found := value(row)) is not None:
            points.setdefault(row["arm"], {}).setdefault(row["seed"], {})[row["epoch"]] = found
    if not points:
        return None
    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    longest = max(epoch for seeds in points.values() for line in seeds.values() for epoch in line)
    for role in (role for role in ROLES if role in points):
        color, (style, marker), seeds = _INK[role], _LINE[role], list(points[role].values())
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


def _confusion(logits: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """int64 (classes, classes): test images by true class and the class named, summed over seeds."""
    n = logits[0].shape[1]
    named = np.concatenate([values.argmax(1) for values in logits])
    return np.bincount(np.tile(labels, len(logits)) * n + named, minlength=n * n).reshape(n, n)


def matrix(counts: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The confusion matrix: for each true class its name and cells of share, strength of colour and images."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return [
        {
            "name": classes[i],
            "images": int(counts[i].sum()),
            "cells": [
                {"share": float(s), "strength": round(float(s) ** 0.6, 3), "images": int(c)}
                for s, c in zip(shares[i], counts[i], strict=True)
            ],
        }
        for i in range(len(classes))
    ]


def confusions(counts: Mapping[str, np.ndarray], role: str, classes: Sequence[str], most: int) -> list[dict[str, Any]]:
    """The pairs (true class, class named) that `role` takes for each other most, and the shares of all roles."""
    wrong = counts[role] * (1 - np.eye(len(classes), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    return [
        {
            "true": classes[i],
            "named": classes[j],
            "cells": [(int(c[i, j]), float(c[i, j] / max(c[i].sum(), 1))) for c in counts.values()],
        }
        for i, j in pairs
    ]
