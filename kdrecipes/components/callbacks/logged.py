"""What of a recipe and of a report the trackers log, whatever they log to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kdrecipes.components.callbacks.following import label_of

# The figures of a teacher or an arm on test images, and its cost, in the order of the table.
_FIGURES = (
    "test_accuracy",
    "test_loss",
    "ece",
    "macro_f1",
    "top5",
    "agreement",
    "params",
    "size_bytes",
    "multiply_adds",
    "steps",
)


def settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved recipe without its callbacks, whose options say where to log and nothing of the training."""
    return {key: value for key, value in recipe.items() if key != "callbacks"}


def parameters(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The same flat: `{"train.epochs": "5", "loss.terms.0.weight": "0.9", "compare.seeds": "[0, 1, 2]"}`."""

    def leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
        tables = isinstance(value, list) and any(isinstance(one, dict) for one in value)
        if isinstance(value, dict) or tables:
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from leaves(part, f"{name}.{key}" if name else str(key))
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)

    return dict(leaves(settings(recipe), ""))


def final_figures(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The report's figures by label: "teacher", of several "teacher-<id>", "ensemble", "baseline-0", "kd-0", …"""
    teachers = report["teachers"]
    found = {f"teacher-{one['id']}" if len(teachers) > 1 else "teacher": one for one in teachers}
    if "ensemble" in report:
        found["ensemble"] = report["ensemble"]
    found |= {label_of(arm): arm for arm in report["arms"]}
    return {label: {key: one[key] for key in _FIGURES if _is_number(one.get(key))} for label, one in found.items()}


def differences(report: Mapping[str, Any]) -> dict[str, float]:
    """The mean differences of test accuracy: `{"kd_minus_baseline": 0.02, …}`."""
    return {name: one["mean"] for name, one in report["comparison"].items() if one and _is_number(one.get("mean"))}


def table(report: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The final table: its columns, and a row for each label; a figure that it has not is None."""
    found = final_figures(report)
    columns = [key for key in _FIGURES if any(key in figures for figures in found.values())]
    return ["", *columns], [[label, *(figures.get(key) for key in columns)] for label, figures in found.items()]


def markdown(columns: list[str], rows: list[list[Any]]) -> str:
    """A table as Markdown."""

    def line(cells: list[Any]) -> str:
        return "| " + " | ".join(_text(cell) for cell in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)]) + "\n"


def _text(cell: Any) -> str:
    text = "" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
