"""The report's table: a row each for the teachers, the labels-only and the distilled students; and as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdrecipes.report.facts import Report
from kdrecipes.report.measures import SHORT, cost_cells, cost_headings, cost_keys, how_timed
from kdrecipes.report.time_words import time_line
from kdrecipes.report.verdict import against_teacher, loss_and_calibration, verdict
from kdrecipes.wording import some_of


def teachers_of(report: Report) -> list[dict[str, Any]]:
    """The teachers of a report; one of schema version 1 has room for one, which is called by its component."""
    if report["schema_version"] == 1:
        return [{"id": report["teacher"]["component"], **report["teacher"]}] if report["teacher"] else []
    return list(report["teachers"])


def taught_by_words(report: Report) -> str:
    """What the students were taught by, in words."""
    return "teachers together" if "ensemble" in report else "teacher"


def table_rows(report: Report) -> list[dict[str, Any]]:
    """The report's table: one row each for every teacher, several together, the labels-only and the distilled students.

    Keys: `role` ("teacher", "baseline" or "kd"), `who`, `accuracy` (mean over seeds), `spread` (standard deviation over
    seeds, None below two), `params`, `seconds` (mean; 0 for a teacher that is not fine-tuned), `of`: the entries of the
    report that it is of.
    """
    rows, teachers = [], teachers_of(report)
    for teacher in teachers:
        rows.append(_teacher_row(teacher, _who(teacher, len(teachers)), teacher["params"], teacher["seconds"]["fit"]))
    if "ensemble" in report:
        params, seconds = sum(t["params"] for t in teachers), sum(t["seconds"]["fit"] for t in teachers)
        rows.append(_teacher_row(report["ensemble"], f"all {len(teachers)} teachers together", params, seconds))
    for arm, who in (("baseline", "student, labels only"), ("kd", "student, distilled")):
        arms = [row for row in report["arms"] if row["arm"] == arm]
        if arms:
            accuracies = [row["test_accuracy"] for row in arms]
            rows.append(
                {
                    "role": arm,
                    "who": who + (f", mean of {len(arms)} seeds" if len(arms) > 1 else ""),
                    "accuracy": float(np.mean(accuracies)),
                    "spread": float(np.std(accuracies, ddof=1)) if len(arms) > 1 else None,
                    "params": arms[0]["params"],
                    "seconds": float(np.mean([row["seconds"] for row in arms])),
                    "of": arms,
                }
            )
    return rows


def _teacher_row(figures: dict[str, Any], who: str, params: int, seconds: float) -> dict[str, Any]:
    row = {"role": "teacher", "who": who, "accuracy": figures["test_accuracy"], "spread": None}
    return {**row, "params": params, "seconds": seconds, "of": [figures]}


def _who(teacher: dict[str, Any], of: int) -> str:
    """The only teacher is told by its component, one of several by its id too."""
    name = teacher["id"] if of > 1 else ""
    component = f"({teacher['component']})" if name != teacher["component"] else ""
    return " ".join(filter(None, ["teacher", name, component]))


def data_changed(report: Report) -> str | None:
    """What is told first of a finished run that was asked for again, where its data are others now; else None."""
    changes = report.get("data_changed")
    return changes and (
        f"The data have changed since this run: {some_of(changes, 'classes')}. This is the report of the former data; "
        "--overwrite trains anew, and another --out keeps both."
    )


def cost_rows(report: Report, p95: bool = True) -> list[dict[str, Any]]:
    """What each network of the table costs to run: its `role`, `who` it is, and `cells`, one for each of its headings.

    Of several seeds one student was measured. All teachers together were not.
    """
    rows = []
    for row in table_rows(report):
        measured = [entry for entry in row["of"] if cost_keys(entry)]
        if measured:
            cells = cost_cells(report, measured[0], p95)
            rows.append({"role": row["role"], "who": row["who"].partition(", mean of")[0], "cells": cells})
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def summary_text(report: Report) -> str:
    """The table, the verdict and the other measures as plain text, for the terminal."""
    from kdrecipes.wording import readable_seconds

    rows = [("", "test accuracy", "parameters", "training")]
    for row in table_rows(report):
        spread = f" ± {100 * row['spread']:.2f}" if row["spread"] is not None else ""
        seconds = readable_seconds(row["seconds"]) if row["seconds"] else "–"
        rows.append((row["who"], f"{100 * row['accuracy']:.2f} %{spread}", f"{row['params']:,}", seconds))
    lines = aligned(rows)
    if "measures" in report:
        costs = [(row["who"], *row["cells"]) for row in cost_rows(report, p95=False)]
        lines += ["", *aligned([("", *cost_headings(report, SHORT)), *costs]), how_timed(report)]
    if told := data_changed(report):
        lines = [told, "", *lines]
    lines += ["", f"{report['dataset']['test']:,} test images. {verdict(report)}"]
    lines += [text for text in (against_teacher(report), loss_and_calibration(report), time_line(report)) if text]
    lines += [f"Warning: {warning}" for warning in report["warnings"]]
    lines += [f"{one['code']}: {one['text']}" for one in report.get("advice", [])]
    return "\n".join(line.rstrip() for line in lines)
