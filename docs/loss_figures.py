"""What the terms cost and bring, as Markdown: published figures beside our own, from the committed sweeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loss_tables
from schema_tables import table

RESULTS = Path(__file__).resolve().parent.parent / "results"
NO_BREAK = "\u00a0"
SWEEPS = {"few labels": "compare_losses", "all labels": "compare_losses_full"}

# Points of accuracy over kd on CIFAR-100, students of the teacher's family and of another one. The rows of features are
# without kd beside them. Means over the pairs of networks in the tables of the authors' code: RepDistiller and TTM, and
# from LSKD's ctkd, lskd and mlkd, which trains 480 epochs; pld is the paper's.
PUBLISHED = {
    "hint": (-1.37, -2.17),
    "attention": (-0.63, -4.05),
    "similarity_preserving": (-0.70, -0.27),
    "rkd": (-1.36, -2.29),
    "vid": (-0.61, -1.34),
    "pkt": (-0.21, -0.42),
    "nst": (-1.05, -2.30),
    "crd": (0.86, 1.35),
    "dist": (1.19, 1.58),
    "dkd": (1.60, 2.44),
    "ttm": (1.30, 1.23),
    "wttm": (1.43, 1.34),
    "ctkd": (0.40, 0.52),
    "lskd": (1.34, 1.23),
    "mlkd": (1.89, 2.83),
    "pld": (1.04, 1.09),
}

READ_LABELS = ("dkd", "nkd", "wsld", "ofa_logit", "teacher_free", "rld", "pld", "ofa", "crd")
LEARN = ("ctkd", "vid", "srrl", "simkd", "ofa", "review_kd", "crd")


def compared() -> str:
    """A table of each family of terms: needs, cost of a step, published gain, and our own in both settings."""
    sweeps = [_points(_result(name)) for name in SWEEPS.values()]
    families: dict[str, list[list[str]]] = {"On logits": [], "On features": []}
    for name, term in loss_tables.classes().items():
        rows = families["On features" if hasattr(term, "student_layers") else "On logits"]
        for shown in [f"kd, T = {t}" for t in (1, 4)] if name == "kd" else [name]:
            gains = [_gain(points.get(shown)) for points in sweeps]
            rows.append([shown, _needs(term), _cost(name), _published(name), *gains])
    head = ["term", "needs", "step", "published", *SWEEPS]
    return "\n\n".join(f"**{family}**\n\n{table(head, rows)}" for family, rows in families.items())


def confirmed() -> str:
    """A table of the points that were run again with fresh seeds, on test."""
    rows = [
        [
            setting,
            _shown(_point(result, one["point"])["changes"]["loss"]),
            f"{100 * one['baseline_test_accuracy']:.2f} %",
            f"{100 * one['test_accuracy']:.2f} %",
            _interval(one["kd_minus_baseline"]),
            one["kd_minus_baseline"]["verdict"],
        ]
        for setting, result in ((setting, _result(name)) for setting, name in SWEEPS.items())
        for one in result["confirmed"]
    ]
    return table(["setting", "term", "labels only", "distilled", "difference", "verdict"], rows)


def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _point(result: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in result["points"] if one["point"] == name)
    return dict(found)


def _points(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A sweep's points by the term that each adds."""
    return {_shown(one["changes"]["loss"]): one for one in result["points"]}


def _shown(loss: dict[str, Any]) -> str:
    """The term of a point, the last of several; `kd` alone with its temperature."""
    *_, last = loss.get("terms", [loss])
    return f"kd, T = {last['temperature']:g}" if last["name"] == "kd" else str(last["name"])


def _needs(term: Any) -> str:
    return ", ".join(_each_need(term)) or "–"


def _each_need(term: Any) -> Iterator[str]:
    name = term.component.name
    if hasattr(term, "student_layers"):
        yield "layers of both" if hasattr(term, "teacher_layers") else "layers of the student"
    if name in READ_LABELS:
        yield "labels"
    if name in LEARN:
        yield "weights of its own"
    if getattr(term, "relational", False):
        yield "a batch"
    if "examples" in term.component.options["properties"]:
        yield "a memory of all images"


def _cost(name: str) -> str:
    """Medians over students, the dearest; of features with `kd` beside them."""
    if name == "kd":
        return "1"
    rows = [row for row in _result("term_costs")["rows"] if row["figures"]["term"] == name]
    return f"{max(row['ratio'] for row in rows):.2f}"


def _published(name: str) -> str:
    gains = PUBLISHED.get(name)
    return NO_BREAK.join((_signed(gains[0]), "/", _signed(gains[1]))) if gains else "–"


def _gain(point: dict[str, Any] | None) -> str:
    return _interval(point["kd_minus_baseline"]) if point else "–"


def _interval(difference: dict[str, Any]) -> str:
    low, high = (_signed(100 * one) for one in difference["ci95"])
    return f"{_signed(100 * difference['mean'])}<br>({low}{NO_BREAK}to{NO_BREAK}{high})"


def _signed(points: float) -> str:
    return f"{points:+.2f}".replace("-", "−")
