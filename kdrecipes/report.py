"""report.json and report.html: what the run found, every number from the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.data.prepare import Data
from kdrecipes.disk.files import new_file, write_json
from kdrecipes.evaluation import compare, figures
from kdrecipes.recipe.tables import Recipe
from kdrecipes.wording import points

Report = dict[str, Any]


def build_report(
    recipe: Recipe,
    data: Data,
    teacher: Any,
    rows: list[dict[str, Any]],
    arms: Mapping[str, Mapping[str, Any]],
    logits: Mapping[str, np.ndarray],
    warnings: list[str],
    environment: Mapping[str, Any],
    command: str,
) -> Report:
    """The report as a dict that fits `schemas/report.schema.json`.

    Args:
        recipe, data, teacher: of the run; `teacher` is None where there is none.
        rows: the history.
        arms: params, epochs, steps and seconds of each trained arm, by label.
        logits: float32 (test images, classes) by "teacher" and arm label.
        warnings: what the reader should know.
        environment, command: where and how it ran.
    """
    labels = data.test.labels
    taught = logits.get("teacher")
    report: Report = {
        "schema_version": 1,
        "name": recipe.name,
        "status": "done",
        "command": command,
        "recipe_sha256": recipe.fingerprint,
        "dataset": {
            "name": recipe.data["dataset"]["name"],
            "fingerprint": data.fingerprint,
            "classes": len(data.classes),
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "converted": data.converted,
            "skipped": len(data.skipped),
        },
        "teacher": None,
        "arms": [],
        "comparison": None,
        "warnings": warnings,
        "environment": dict(environment),
    }
    if teacher is not None and taught is not None:
        report["teacher"] = {
            "component": recipe.data["teacher"]["name"],
            "params": teacher.model.count_params(),
            **figures(taught, labels),
            "sha256": teacher.fingerprint,
            "reused": teacher.reused,
            # A live teacher's time is part of the distilled arms'.
            "seconds": {"fit": round(teacher.seconds, 3), "outputs": teacher.outputs_seconds},
        }
    for label, facts in arms.items():
        arm, _, seed = label.rpartition("-")
        validation = [row["val_accuracy"] for row in rows if (row["arm"], row["seed"]) == (arm, int(seed))]
        report["arms"].append(
            {
                "arm": arm,
                "seed": int(seed),
                **facts,
                **figures(logits[label], labels, taught),
                "validation_accuracy": validation,
                "best_epoch": int(np.argmax(validation)) + 1,
            }
        )
    report["comparison"] = _comparison(report, logits, labels)
    return report


def _comparison(report: Report, logits: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, Any] | None:
    seeds = {arm: [row["seed"] for row in report["arms"] if row["arm"] == arm] for arm in ("baseline", "kd")}
    if not seeds["kd"]:
        return None
    result: dict[str, Any] = {}
    for name, other in (("kd_minus_baseline", "baseline"), ("kd_minus_teacher", "teacher")):
        if other == "baseline" and not seeds["baseline"]:
            continue
        pairs = [(logits[f"kd-{s}"], logits[f"{other}-{s}" if other == "baseline" else other]) for s in seeds["kd"]]
        found = compare([a for a, _ in pairs], [b for _, b in pairs], seeds["kd"], labels)
        found["mcnemar"] = [
            {"seed": m["seed"], "only_kd_right": m["first"], f"only_{other}_right": m["second"], "p": m["p"]}
            for m in found["mcnemar"]
        ]
        result[name] = found
    return result


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


def verdict(report: Report) -> str:
    """One sentence on what distillation bought, no stronger than the evidence."""
    found = (report["comparison"] or {}).get("kd_minus_baseline")
    if found is None:
        return "No baseline and distilled student to compare."
    amount = f"{points(found['mean'])} points of test accuracy"
    if found["ci95"] is None:
        return f"Two seeds: the distilled students score {amount} on average; two are too few for an interval."
    low, high = found["ci95"]
    interval = f"95% interval {points(low)} to {points(high)} over {found['ci95_over']}"
    if found["seeds"] == 1:
        sure = "" if low > 0 or high < 0 else " The test images do not tell these two students apart."
        p = found["mcnemar"][0]["p"]
        return (
            f"Of these two students the distilled one scores {amount} ({interval}; McNemar p = {p:.2g}).{sure} "
            "One seed says nothing about distillation in general: compare.seeds = [0, 1, 2] does."
        )
    if low > 0:
        return f"Distillation helped here: {amount} over {found['seeds']} seeds ({interval})."
    if high < 0:
        return f"Distillation hurt here: {amount} over {found['seeds']} seeds ({interval})."
    return f"No difference was found: {amount} over {found['seeds']} seeds ({interval})."


def summary_text(report: Report) -> str:
    """The table and the verdict as plain text, for the terminal."""
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
    lines += [f"Warning: {warning}" for warning in report["warnings"]]
    return "\n".join(line.rstrip() for line in lines)


def check_report(report: Report) -> None:
    """Validate against `report.schema.json`.

    Raises:
        jsonschema.ValidationError: when the report is not what the schema promises.
    """
    from jsonschema import Draft7Validator

    schema = json.loads((resources.files("kdrecipes.schemas") / "report.schema.json").read_text(encoding="utf-8"))
    Draft7Validator(schema).validate(report)


def write_report(
    report: Report,
    folder: Path,
    recipe: Recipe,
    classes: list[str],
    rows: list[dict[str, Any]],
    logits: Mapping[str, np.ndarray],
) -> None:
    """Validate the report, then write report.json and report.html."""
    check_report(report)
    write_json(folder / "report.json", report)
    from kdrecipes.page import render

    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        labels = stored["labels"]
    with new_file(folder / "report.html", "w") as file:
        file.write(render(report, recipe, classes, rows, logits, labels))
