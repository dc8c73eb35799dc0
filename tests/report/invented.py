"""An invented run, of which pages are made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from kdrecipes.recipe.effective import effective_toml
from kdrecipes.report.build import check_report
from kdrecipes.report.facts import ArmFacts, DatasetFacts, EnvironmentFacts, Facts, RecipeFacts, TeacherFacts


def difference(seeds: int, other: str) -> dict[str, Any]:
    tests = [{"seed": s, "only_kd_right": 12, f"only_{other}_right": 1034, "p": 0.25} for s in range(seeds)]
    interval = None if seeds == 2 else [-0.01, 0.0425]
    return {
        "mean": -0.0125,
        "ci95": interval,
        "ci95_over": "seeds" if seeds > 1 else "test images",
        "seeds": seeds,
        "mcnemar": tests,
        "test_loss": {"mean": -0.0214, "ci95": interval and [-0.03, -0.0124]},
        "ece": {"mean": 0.004, "ci95": interval and [-0.001, 0.009]},
        "detectable": interval and 0.0173,
        "margin": 0.002,
        "verdict": "unclear",
    }


def run(seeds: int = 1, teacher: bool = True, names: int | list[str] = 4, several: bool = False) -> dict[str, Any]:
    """An invented run; `facts_of` makes of it what `render` takes."""
    classes = [f"class {i}" for i in range(names)] if isinstance(names, int) else names
    random = np.random.default_rng(0)
    labels = random.integers(0, len(classes), 300)
    arms = ("baseline", "kd") if teacher else ("baseline",)

    def network() -> np.ndarray:
        right = 2.0 * np.eye(len(classes))[labels]
        return (right + random.normal(size=right.shape)).astype(np.float32)

    figures = {"params": 12345, "test_accuracy": 0.5, "test_loss": 1.2345, "ece": 0.0678, "macro_f1": 0.4321}
    report: dict[str, Any] = {
        "schema_version": 2,
        "name": "sample",
        "status": "done",
        "command": "kdrecipes run sample.toml",
        "recipe_sha256": "a" * 64,
        "teachers": [],
        "comparison": None,
        "warnings": [],
        "advice": [],
        "dataset": {
            "name": "digits",
            "fingerprint": "b" * 64,
            "classes": len(classes),
            "train": 9000,
            "labelled": 9000,
            "unlabelled": 0,
            "validation": 700,
            "test": 300,
            "converted": 0,
            "skipped": 0,
        },
        "environment": {"versions": {"keras": "3.15.1"}, "device": "cpu", "threads": 2, "git": None},
    }
    if teacher:
        taught = {
            **figures,
            "id": "cnn",
            "component": "cnn",
            "test_accuracy": 0.875,
            "sha256": "c" * 64,
            "reused": True,
            "seconds": {"fit": 7380.0, "outputs": None},
        }
        report["teachers"] = [taught]
        if several:
            wide = {"id": "wide", "component": "vit", "sha256": "d" * 64, "seconds": {"fit": 0.0, "outputs": 8.0}}
            report["teachers"] = [{**taught, "agreement": 0.9}, {**taught, "agreement": 0.8, **wide}]
            report["ensemble"] = {**figures, "test_accuracy": 0.9375}
            del report["ensemble"]["params"]
        report["comparison"] = {
            "kd_minus_baseline": difference(seeds, "baseline"),
            "kd_minus_teacher": difference(seeds, "teacher"),
        }
    report["arms"] = [
        {
            **figures,
            "arm": arm,
            "seed": seed,
            "labels": 9000,
            "epochs": 3,
            "steps": 30,
            "seconds": 5.0,
            "test_accuracy": 0.5 + 0.01 * seed,
            "validation_accuracy": [0.2, 0.4444, 0.3333],
            "best_epoch": 2,
            "student": f"students/{arm}-{seed}.keras",
            **({"agreement": 0.6789} if teacher else {}),
        }
        for seed in range(seeds)
        for arm in arms
    ]
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "epoch": epoch,
            "label_loss": 2 / epoch,
            "loss": 9 / epoch,
            "val_accuracy": epoch / 4,
        }
        for seed in range(seeds)
        for arm in arms
        for epoch in (1, 2, 3)
    ]
    logits = {f"{arm}-{seed}": network() for seed in range(seeds) for arm in arms}
    if teacher:
        logits |= {name: network() for name in (["cnn", "wide", "ensemble"] if several else ["cnn"])}
        rows += [
            {"arm": "teacher", "seed": 0, **named, "epoch": epoch, "loss": 1 / epoch, "val_accuracy": 0.9}
            for named in ([{"teacher": "cnn"}, {"teacher": "wide"}] if several else [{}])
            for epoch in (1, 2)
        ]
    recipe = SimpleNamespace(
        data={"student": {"name": "cnn"}, "description": "An invented run."},
        text='name = "sample"\n',
        overrides=(),
        source="sample.toml",
        name="sample",
        origins={("student", "name"): "base.toml:7"},
    )
    check_report(report)
    return {"report": report, "recipe": recipe, "classes": classes, "rows": rows, "logits": logits, "labels": labels}


def facts_of(given: dict[str, Any]) -> Facts:
    report, recipe, fields = given["report"], given["recipe"], ArmFacts.__dataclass_fields__
    known = [key for key in TeacherFacts.__dataclass_fields__ if key not in ("logits", "warnings")]
    description = recipe.data["description"]
    origins = (recipe.source, list(recipe.overrides), recipe.text, effective_toml(recipe))
    return Facts(
        recipe_sha256=report["recipe_sha256"],
        student=recipe.data["student"]["name"],
        margin=0.002,
        temperatures=[1.0],
        label_weight=1.0,
        recipe=RecipeFacts(recipe.name, description, *origins),
        dataset=DatasetFacts(**{**report["dataset"], "classes": given["classes"]}),
        teachers={
            one["id"]: TeacherFacts(**{key: one[key] for key in known if key in one}, logits=one["id"], warnings=[])
            for one in report["teachers"]
        },
        arms={
            f"{a['arm']}-{a['seed']}": ArmFacts(**{key: a[key] for key in fields if key in a}) for a in report["arms"]
        },
        environment=EnvironmentFacts(report["command"], report["warnings"], report["environment"]),
        rows=given["rows"],
        logits=given["logits"],
        labels=given["labels"],
    )
