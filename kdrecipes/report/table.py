"""The report's table: a row each for the teacher, the labels-only and the distilled students; and as plain text."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdrecipes.report.facts import Report
from kdrecipes.report.verdict import loss_and_calibration, verdict


def table_rows(report: Report) -> list[dict[str, Any]]:
    """The report's table: one row each for the teacher, the labels-only and the distilled students.

    Keys: `who`, `accuracy` (mean over seeds), `spread` (standard deviation over seeds, None below two), `params`,
    `seconds` (mean; None for a teacher that was not fine-tuned here).
    """
    rows = []
    if report["teacher"]:
        teacher = report["teacher"]
        rows.append(
            {
                "who": f"teacher ({teacher['component']})",
                "accuracy": teacher["test_accuracy"],
                "spread": None,
                "params": teacher["params"],
                "seconds": teacher["seconds"]["fit"],
            }
        )
    for arm, who in (("baseline", "student, labels only"), ("kd", "student, distilled")):
        arms = [row for row in report["arms"] if row["arm"] == arm]
        if arms:
            accuracies = [row["test_accuracy"] for row in arms]
            rows.append(
                {
                    "who": who + (f", mean of {len(arms)} seeds" if len(arms) > 1 else ""),
                    "accuracy": float(np.mean(accuracies)),
                    "spread": float(np.std(accuracies, ddof=1)) if len(arms) > 1 else None,
                    "params": arms[0]["params"],
                    "seconds": float(np.mean([row["seconds"] for row in arms])),
                }
            )
    return rows


def summary_text(report: Report) -> str:
    """The table, the verdict and the other measures as plain text, for the terminal."""
    from kdrecipes.wording import readable_seconds

    rows = [("", "test accuracy", "parameters", "training")]
    for row in table_rows(report):
        spread = f" ± {100 * row['spread']:.2f}" if row["spread"] is not None else ""
        seconds = readable_seconds(row["seconds"]) if row["seconds"] else "–"
        rows.append((row["who"], f"{100 * row['accuracy']:.2f} %{spread}", f"{row['params']:,}", seconds))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    lines += ["", f"{report['dataset']['test']:,} test images. {verdict(report)}"]
    lines += [text for text in [loss_and_calibration(report)] if text]
    lines += [f"Warning: {warning}" for warning in report["warnings"]]
    return "\n".join(line.rstrip() for line in lines)
