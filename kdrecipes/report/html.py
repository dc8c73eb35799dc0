"""report.html: one self-contained page; what was measured, how sure it is, how it was made.

Text from outside is escaped by the template, all of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kdrecipes.report.charts import charts_of, logits_by_role
from kdrecipes.report.confusions import confusion, confusions, matrix
from kdrecipes.report.drawing import ROLES
from kdrecipes.report.facts import Facts, Report
from kdrecipes.report.figures import ECE_BINS
from kdrecipes.report.galleries import galleries
from kdrecipes.report.loss_words import network_words
from kdrecipes.report.measures import LONG, cost_headings, how_words
from kdrecipes.report.per_class import chance_words
from kdrecipes.report.pictures import Pictures
from kdrecipes.report.reliability import FEW
from kdrecipes.report.table import cost_rows, table_rows, taught_by_words, teachers_of
from kdrecipes.report.templates import filled
from kdrecipes.report.time_words import energy_words, time_rows
from kdrecipes.report.verdict import loss_and_calibration, unequal_pairs, verdict
from kdrecipes.wording import readable_seconds

MATRIX_UP_TO = 20  # classes; above, the confusions are a table only
MEASURES = {  # of the first table, beside accuracy, parameters and time: key → heading, factor, decimals
    "top5": ("Top-5 accuracy, %", 100, 2),
    "macro_f1": ("Macro F1, %", 100, 2),
    "ece": ("ECE, %", 100, 2),
    "test_loss": ("Test loss, nats", 1, 3),
    "agreement": ("Agreement with the {taught_by}, %", 100, 2),
}


def render(report: Report, facts: Facts, pictures: Pictures | None = None) -> str:
    """The page, the same for the same arguments.

    Args:
        report: fits `schemas/report.schema.json`.
        facts: what it was made from.
        pictures: images of the run; None leaves them out.
    """
    classes, rows = facts.dataset.classes, facts.rows
    found, charts = logits_by_role(facts), charts_of(report, facts)
    counts = {role: confusion(values, facts.labels) for role, values in found.items() if values}
    best = list(counts)[-1]  # the distilled student, where there is one
    headings, table = measured(report)
    teachers, taught_by = teachers_of(report), taught_by_words(report)
    return filled(
        "page.html.jinja",
        "pictures.css",
        report=report,
        recipe=facts.recipe,
        student=facts.student,
        teachers=teachers,
        taught_by=taught_by,
        outputs=outputs_words(teachers),
        roles={**ROLES, "teacher": taught_by},
        verdict=verdict(report),
        calibration=loss_and_calibration(report),
        headings=headings,
        costs=cost_rows(report),
        cost_headings=cost_headings(report, LONG),
        how_measured=how_words(report),
        replaced=network_words(report["arms"]),
        time=time_rows(report),
        energy=energy_words(report),
        table=table,
        best=best,
        seeds=len(found[best]),
        charts=charts,
        chance=chance_words(charts.gains),
        unequal=unequal_pairs(report["arms"]),
        bins=ECE_BINS,
        few=FEW,
        drawn=[arm for arm in ROLES if any(row["arm"] == arm for row in rows)],
        matrix=matrix(counts[best], classes) if len(classes) <= MATRIX_UP_TO else None,
        classes=classes,
        upright=all(len(name) <= 3 for name in classes),
        compared=list(counts),
        confusions=confusions(counts, best, classes, 8 if len(classes) <= MATRIX_UP_TO else 15),
        pictures=galleries(pictures, facts) if pictures else None,
    )


def measured(report: Report) -> tuple[list[str], list[dict[str, Any]]]:
    """The first table: its headings, and for each of teachers and students its role, name and cells."""
    rows = table_rows(report)
    keys = [key for key in MEASURES if any(key in entry for row in rows for entry in row["of"])]
    table = []
    for row in rows:
        spread = "" if row["spread"] is None else f" ±\u00a0{100 * row['spread']:.2f}"
        cells = [f"{100 * row['accuracy']:.2f}{spread}"]
        for key in keys:
            _, factor, decimals = MEASURES[key]
            values = [entry[key] for entry in row["of"] if key in entry]
            cells.append(f"{factor * float(np.mean(values)):.{decimals}f}" if values else "–")
        cells += [f"{row['params']:,}", readable_seconds(row["seconds"]) if row["seconds"] else "–"]
        table.append({"role": row["role"], "who": row["who"], "cells": cells})
    headings = [MEASURES[key][0].format(taught_by=taught_by_words(report)) for key in keys]
    return ["Test accuracy, %", *headings, "Parameters", "Training time"], table


def outputs_words(teachers: list[dict[str, Any]]) -> str:
    """How the students got the teachers' outputs: a sentence or more, empty where there are no teachers."""
    asked: dict[str, list[str]] = {"once": [], "steps": [], "both": [], "never": []}
    for teacher in teachers:
        asked[teacher.get("asked") or _asked_before(teacher)].append(teacher["id"])
    kept = [one["id"] for one in teachers if one["id"] in asked["once"] + asked["both"]]
    live, only = asked["steps"], len(teachers) == 1
    whole = "teacher’s outputs" if only else "teachers’ outputs"
    text = []
    if kept:
        whose = whole if len(kept) == len(teachers) else f"outputs of {', '.join(kept)}"
        text.append(f"The {whose} were computed once for all distilled students, {_how_long(teachers)}.")
    if live:
        whose = f"{'those' if kept else 'the outputs'} of {', '.join(live)}"
        text.append(f"The distilled student’s includes {f'the {whole}' if len(live) == len(teachers) else whose}.")
    if asked["both"]:
        who = "the teacher" if only else ", ".join(asked["both"])
        text.append(f"In every step {who} ran as well, for what layers give: the distilled student’s includes that.")
    if asked["never"]:
        text.append(f"No term heard {', '.join(asked['never'])}.")
    return " ".join(text)


def _how_long(teachers: list[dict[str, Any]]) -> str:
    """How long the computing of outputs took."""
    seconds = sum(teacher["seconds"]["outputs"] or 0.0 for teacher in teachers)
    if not seconds:
        return "by an earlier run"
    return f"in {readable_seconds(seconds)}" if seconds >= 0.05 else "in less than 0.1 s"  # it is told in tenths


def _asked_before(teacher: dict[str, Any]) -> str:
    """How a teacher was asked, as far as a report of an earlier version tells."""
    return "steps" if teacher["seconds"]["outputs"] is None else "once"
