"""report.json, report.html and MODEL_CARD.md: what the run found, every number from the files of the run folder."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.files import locked, new_file, write_json
from kdrecipes.disk.owners import refuse_foreign
from kdrecipes.errors import UsageError
from kdrecipes.gradients import measured_gradients
from kdrecipes.report.advice import advice_of
from kdrecipes.report.charts import charts_of
from kdrecipes.report.contact_sheets import write_sheets
from kdrecipes.report.drawing import files_of
from kdrecipes.report.facts import ArmFacts, Facts, Report, TeacherFacts, read_facts
from kdrecipes.report.figures import compare, figures
from kdrecipes.report.html import render
from kdrecipes.report.intervals import finest
from kdrecipes.report.measures import how_measured, measures_of
from kdrecipes.report.model_card import CardFiles, chosen_student, model_card, saved_in
from kdrecipes.report.pictures import read_pictures
from kdrecipes.report.predictions import ENSEMBLE
from kdrecipes.report.run_list import check_finished, check_run_folder
from kdrecipes.report.verdict import decide, unequal_pairs
from kdrecipes.wording import printable


def build_report(folder: Path) -> Report:
    """The report of a run as a dict that fits `schemas/report.schema.json`, from what its folder holds.

    Args:
        folder: of a run whose steps have all ended.

    Raises:
        UsageError: when a file of the run is missing or damaged.
    """
    return report_of(read_facts(folder))


def report_of(facts: Facts) -> Report:
    """The report as a dict that fits `schemas/report.schema.json`."""
    warnings = [*facts.environment.warnings, *facts.dataset.warnings]
    warnings += [text for one in facts.teachers.values() for text in one.warnings]
    report: Report = {
        "schema_version": 2,
        "name": facts.recipe.name,
        "status": "done",
        "command": facts.environment.command,
        "recipe_sha256": facts.recipe_sha256,
        "dataset": _dataset(facts),
        "teachers": [_teacher(facts, name, teacher) for name, teacher in facts.teachers.items()],
        **_ensemble(facts),
        "arms": [_arm(facts, label, arm) for label, arm in facts.arms.items()],
        "comparison": _comparison(facts),
        "warnings": warnings,
        "environment": facts.environment.environment,
        **how_measured(facts.measures),
    }
    report |= {"time": facts.environment.time} if facts.environment.time else {}
    report |= {"energy": facts.environment.energy} if facts.environment.energy else {}
    return report | {"advice": advice_of(facts, report)}


def _dataset(facts: Facts) -> dict[str, Any]:
    told = {key: value for key, value in vars(facts.dataset).items() if key != "warnings"}  # they are the report's
    names = [printable(name) for name in facts.dataset.classes]  # a folder may be named by bytes that are no UTF-8
    return {**told, "classes": len(names), "class_names": names}


def _teacher(facts: Facts, name: str, teacher: TeacherFacts) -> dict[str, Any]:
    """A teacher's figures; one of several is compared with all together."""
    together = facts.taught if len(facts.teachers) > 1 else None
    return {
        "id": name,
        "component": teacher.component,
        "params": teacher.params,
        **figures(facts.logits[teacher.logits], facts.labels, together),
        **measures_of(facts.measures, teacher.logits),
        "sha256": teacher.sha256,
        "reused": teacher.reused,
        **({"asked": teacher.asked} if teacher.asked else {}),
        "seconds": teacher.seconds,  # a live teacher's outputs are part of the distilled arms'
    }


def _ensemble(facts: Facts) -> dict[str, Any]:
    """The figures of all teachers together, where there are several."""
    return {"ensemble": figures(facts.logits[ENSEMBLE], facts.labels)} if len(facts.teachers) > 1 else {}


def _arm(facts: Facts, label: str, arm: ArmFacts) -> dict[str, Any]:
    rows = [row for row in facts.rows if (row["arm"], row["seed"]) == (arm.arm, arm.seed)]
    validation = [row["val_accuracy"] for row in rows]
    measured = [measured_gradients(row) for row in rows]
    gradients = [{"epoch": row["epoch"], **one} for row, one in zip(rows, measured, strict=True) if one]
    return {
        **{key: value for key, value in vars(arm).items() if value not in ({}, "")},
        **({"gradients": gradients} if gradients else {}),
        **figures(facts.logits[label], facts.labels, facts.taught),
        **measures_of(facts.measures, label),
        "validation_accuracy": validation,
        "best_epoch": int(np.argmax(validation)) + 1,
    }


def _comparison(facts: Facts) -> dict[str, Any] | None:
    """The distilled students against those on labels only and against what taught them, seed by seed."""
    of: dict[str, dict[int, NDArray[Any]]] = {"baseline": {}, "kd": {}, "teacher": {}}
    for label, arm in facts.arms.items():
        of.setdefault(arm.arm, {})[arm.seed] = facts.logits[label]
    if facts.taught is not None:
        of["teacher"] = dict.fromkeys(of["kd"], facts.taught)
    result = {}
    for other in ("baseline", "teacher"):
        if seeds := [seed for seed in of["kd"] if seed in of[other]]:
            pairs = [(of["kd"][seed], of[other][seed]) for seed in seeds]
            result[f"kd_minus_{other}"] = _difference(other, pairs, seeds, facts.labels, facts.margin)
    if unequal_pairs([vars(arm) for arm in facts.arms.values()]):
        result["kd_minus_baseline"]["verdict"] = "unclear"  # whatever the numbers are, they are not the teacher's doing
    return result or None


def _difference(
    other: str,
    pairs: list[tuple[NDArray[Any], NDArray[Any]]],
    seeds: list[int],
    labels: NDArray[Any],
    margin: float,
) -> dict[str, Any]:
    """Of distilled students and `other`, by their test logits: a pair for each seed."""
    found: dict[str, Any] = compare([a for a, _ in pairs], [b for _, b in pairs], seeds, labels)
    found["mcnemar"] = [
        {"seed": m["seed"], "only_kd_right": m["first"], f"only_{other}_right": m["second"], "p": m["p"]}
        for m in found["mcnemar"]
    ]
    interval = found["ci95"]
    if interval and interval[0] == interval[1]:  # no spread: what is seen of it is as fine as the test images are many
        share = finest(len(labels))
        found["detectable"], interval = max(found["detectable"], share), [interval[0] - share, interval[1] + share]
    return {**found, "margin": margin, "verdict": decide(interval, margin)}


def check_report(report: Report) -> None:
    """Validate against `report.schema.json`.

    Raises:
        jsonschema.ValidationError: when the report is not what the schema promises.
    """
    from jsonschema import Draft7Validator

    schema = json.loads((resources.files("kdrecipes.schemas") / "report.schema.json").read_text(encoding="utf-8"))
    Draft7Validator(schema).validate(report)


def write_report(folder: Path) -> Report:
    """Build and validate a run's report; write report.json, report.html, figures/ and MODEL_CARD.md into its folder.

    Raises:
        UsageError: when a file of the run is missing or damaged.
        jsonschema.ValidationError: when its facts make no report that the schema promises.
    """
    facts = read_facts(folder)
    report = report_of(facts)
    check_report(report)
    pictures, label = read_pictures(folder, facts), chosen_student(facts)
    page = render(report, facts, pictures)  # before any file is written: they always agree
    card = model_card(report, facts, label, saved_in(folder, facts, label), CardFiles(facts.arms[label].student))
    charts = [file for chart in charts_of(report, facts).all for file in files_of(chart).items()]
    write_sheets(folder, pictures)
    for name, drawn in charts:
        with new_file(folder / "figures" / name) as file:
            file.write(drawn)
    write_json(folder / "report.json", report)
    for name, text in (("report.html", page), ("MODEL_CARD.md", card)):
        with new_file(folder / name, "w") as file:
            file.write(text)
    return report


def rebuild_report(folder: Path) -> Report:
    """Write the report of a finished run again, byte for byte the same from the same files.

    Raises:
        UsageError: when the folder holds no run, an unfinished one, one of an earlier version, or a damaged one.
        EnvironmentProblem: when another process works in the folder, it can't be written, or another user owns a file.
    """
    check_run_folder(folder)
    refuse_foreign(folder, "Copy the run, and make the report of the copy.")
    with locked(folder / ".lock", f"Another process is running in {folder}. Wait for it."):
        check_finished(folder)
        return report_again(folder)


def report_again(folder: Path) -> Report:
    """As `write_report`, of a folder that this process has locked and that may be damaged.

    Raises:
        UsageError: when a file of the run is missing or damaged.
    """
    from jsonschema import ValidationError
    from jsonschema.exceptions import best_match

    try:
        return write_report(folder)
    except ValidationError as error:
        worst = best_match([error])
        raise UsageError(
            f"What {folder / 'facts'} holds makes no report: {worst.json_path[2:]}: {worst.message}. "
            f"`kdrecipes run RECIPE --out {folder} --overwrite` makes the run anew."
        ) from error
