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
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.figures import compare, figures

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
    from kdrecipes.report.html import render

    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        labels = stored["labels"]
    with new_file(folder / "report.html", "w") as file:
        file.write(render(report, recipe, classes, rows, logits, labels))
