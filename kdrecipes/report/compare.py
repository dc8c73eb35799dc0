"""Finished runs side by side: what `kdrecipes compare` finds, as a dict that fits schemas/compare.schema.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.errors import UsageError
from kdrecipes.report.compared_run import ComparedRun, Role, data_apart, read_runs, why_unlike
from kdrecipes.report.loss_words import loss_words
from kdrecipes.report.measures import measures_of
from kdrecipes.report.paired import paired_accuracy
from kdrecipes.report.verdict import unequal_pairs
from kdrecipes.wording import escaped

Comparison = dict[str, Any]
_WORDS = ("name", "description", "callbacks", "report")  # of a recipe: no result depends on them


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Finished runs side by side, paired with the first one by seed and test image.

    Args:
        folders: run folders, or folders of run folders.

    Raises:
        UsageError: telling of every run why it can't be read, or of every pair why it can't be compared. Where some
            pairs can be, the other runs stand in `left_out`, each with its reason.
    """
    first, *rest = read_runs(folders)
    whys = [why_unlike(first, other) for other in rest]
    others = [other for other, why in zip(rest, whys, strict=True) if not why]
    if not others:
        raise UsageError("\n".join(whys))
    runs = [first, *others]
    return {
        "schema_version": 1,
        "dataset": {
            "name": first.facts.dataset.name,
            "fingerprint": first.facts.dataset.fingerprint,
            "classes": len(first.facts.dataset.classes),
            "test": first.facts.dataset.test,
        },
        "runs": [_run(run) for run in runs],
        "differences": [_against_first(first, other) for other in others],
        "recipes": differing_keys([run.recipe for run in runs]),
        "left_out": [
            {"run": escaped(str(other.folder)), "why": escaped(why)}
            for other, why in zip(rest, whys, strict=True)
            if why
        ],
    }


def check_comparison(comparison: Comparison) -> None:
    """Validate against `compare.schema.json`.

    Raises:
        jsonschema.ValidationError: when the comparison is not what the schema promises.
    """
    from jsonschema import Draft7Validator

    schema = json.loads((resources.files("kdrecipes.schemas") / "compare.schema.json").read_text(encoding="utf-8"))
    Draft7Validator(schema).validate(comparison)


def _run(run: ComparedRun) -> dict[str, Any]:
    facts, seeds = run.facts, {arm.seed: None for arm in run.facts.arms.values()}
    last = list(facts.arms)[-1]
    one = next((label for label, arm in facts.arms.items() if arm.arm == "kd"), last)
    found = paired_accuracy(run.right("kd"), run.right("baseline"), facts.margin)
    if found and unequal_pairs([vars(arm) for arm in facts.arms.values()]):
        found["verdict"] = "unclear"  # whatever the numbers are, they are not the teacher's doing
    return {
        "run": escaped(str(run.folder)),
        "name": facts.recipe.name,
        "recipe_sha256": facts.recipe_sha256,
        "teachers": [teacher.component for teacher in facts.teachers.values()],
        "student": facts.student,
        "loss": loss_words(run.recipe.get("loss", {})) if facts.teachers else "",
        "labelled": facts.dataset.labelled,
        "unlabelled": facts.dataset.unlabelled,
        "epochs": facts.arms[one].epochs,
        "params": facts.arms[one].params,
        "seeds": list(seeds),
        "test_accuracy": {
            "teacher": None if facts.taught is None else float((facts.taught.argmax(1) == facts.labels).mean()),
            **{role: _accuracy(run, role) for role in ("baseline", "kd")},
        },
        "kd_minus_baseline": found,
        "costs": measures_of(facts.measures, one),
    }


def _accuracy(run: ComparedRun, role: Role) -> dict[str, Any] | None:
    each = [float(right.mean()) for right in run.right(role).values()]
    if not each:
        return None
    return {"mean": float(np.mean(each)), "sd": float(np.std(each, ddof=1)) if len(each) > 1 else None}


def _against_first(first: ComparedRun, other: ComparedRun) -> dict[str, Any]:
    """A run minus the first, arm by arm; whether their students are the same networks; what of their data differs."""
    return {
        "run": escaped(str(other.folder)),
        "minus": escaped(str(first.folder)),
        **{role: paired_accuracy(other.right(role), first.right(role), first.facts.margin) for role in _ROLES},
        **{f"same_{role}": _same_networks(first, other, role) for role in _ROLES},
        "data": data_apart(first, other) or None,
    }


def _same_networks(first: ComparedRun, other: ComparedRun, role: Role) -> bool | None:
    """Whether a role's students of all common seeds give equal logits; None where there are none."""
    mine, theirs = first.students(role), other.students(role)
    shared = [seed for seed in theirs if seed in mine]
    return all(np.array_equal(theirs[seed], mine[seed]) for seed in shared) if shared else None


_ROLES: tuple[Role, ...] = ("kd", "baseline")


def differing_keys(recipes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The keys in which resolved recipes differ, in the order of the first that has each.

    Returns:
        Of each `key`, as a person writes it, and its `values`, one for each recipe; None where a recipe lacks it.
    """
    leaves = [dict(_leaves({k: v for k, v in recipe.items() if k not in _WORDS}, "")) for recipe in recipes]
    keys = dict.fromkeys(key for one in leaves for key in one)
    found = [{"key": key, "values": [one.get(key) for one in leaves]} for key in keys]
    return [row for row in found if any(not _same(value, row["values"][0]) for value in row["values"])]


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one kind: 1 and true are two values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each value of a recipe by its dotted key; lists of tables are gone through, other lists are values."""
    if isinstance(value, Mapping) and (value or not path):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    else:
        yield path, value
