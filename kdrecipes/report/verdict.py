"""What the numbers say, in words no stronger than the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kdrecipes.report.facts import Report
from kdrecipes.wording import about_points, nats, points

Verdict = Literal["helped", "hurt", "same", "unclear"]
Difference = Mapping[str, Any]  # of two networks, as in a report's comparison


def decide(interval: Sequence[float] | None, margin: float) -> Verdict:
    """What an interval of a difference in accuracy tells of the first network.

    Args:
        interval: its ends, shares of accuracy; None with two seeds.
        margin: below it a difference is practically none; with 0 none is.

    Returns:
        "same" where the whole interval lies within ± margin, also when it leaves out 0; else "helped" where it lies
        above 0, "hurt" where it lies below; else "unclear".
    """
    if interval is None:
        return "unclear"
    low, high = interval
    if -margin < low and high < margin:
        return "same"
    return "helped" if low > 0 else "hurt" if high < 0 else "unclear"


def verdict(report: Report) -> str:
    """What distillation bought in accuracy, no stronger than the evidence: of one seed, no more than of two students.

    A report of version 1 holds neither a margin nor what could have been seen, so it is told without them.
    """
    found = (report["comparison"] or {}).get("kd_minus_baseline")
    if found is None:
        if any(arm["arm"] == "kd" for arm in report["arms"]):
            return "There is no student on labels only to compare the distilled one with: compare.baseline = false."
        return "There is no distilled student: the recipe has no teacher."
    if unequal := unequal_pairs(report["arms"]):
        return _of_unlike_students(found, unequal)
    text = _of_two_students(found) if found["seeds"] == 1 else _of_distillation(found)
    data = report["dataset"]
    if data.get("labelled") and data.get("unlabelled"):
        return f"With the same {data['labelled']:,} labels, {text[0].lower()}{text[1:]}"
    return text


def unequal_pairs(arms: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
    """The steps of the labels-only and of the distilled student, for each seed with which they differ.

    Args:
        arms: of a report: `arm`, `seed` and `steps` of each.
    """
    steps = {(arm["arm"], arm["seed"]): arm["steps"] for arm in arms}
    pairs = {
        seed: (steps["baseline", seed], taken)
        for (arm, seed), taken in steps.items()
        if arm == "kd" and ("baseline", seed) in steps
    }
    return {seed: pair for seed, pair in pairs.items() if pair[0] != pair[1]}


def _of_unlike_students(found: Difference, unequal: Mapping[int, tuple[int, int]]) -> str:
    """Students that did not train alike are told of, and not judged."""
    seed, (baseline, kd) = next(iter(unequal.items()))
    more = f" So it is with {len(unequal)} of {found['seeds']} seeds." if found["seeds"] > 1 else ""
    return (
        f"No fair comparison: with seed {seed} the labels-only student took {baseline:,} steps and the distilled one "
        f"{kd:,}.{more} Their difference, {points(found['mean'])} points of test accuracy, is not what the "
        "teacher gave."
    )


def _of_two_students(found: Difference) -> str:
    endings = {
        "helped": "The distilled one is better.",
        "hurt": "The distilled one is worse.",
        "same": f"They are practically the same: the interval lies within {_margin(found)}.",
        "unclear": _unclear(found) or "The test images do not tell these two students apart.",
    }
    return (
        f"Of these two students the distilled one scores {points(found['mean'])} points of test accuracy "
        f"(95% interval {_ends(found['ci95'], points)} over test images; McNemar p = {found['mcnemar'][0]['p']:.2g}). "
        f"{endings[_decision(found)]} "
        "One seed says nothing about distillation in general: compare.seeds = [0, 1, 2] does."
    )


def _of_distillation(found: Difference) -> str:
    seeds, amount = found["seeds"], f"{points(found['mean'])} points of test accuracy"
    better = sum(test["only_kd_right"] > test["only_baseline_right"] for test in found["mcnemar"])
    count = f"in {better} of {seeds} seeds the distilled student was better"
    if found["ci95"] is None:
        return (
            f"Over two seeds the distilled students score {amount} on average; {count}. "
            "Two seeds are too few for an interval."
        )
    interval = f"95% interval {_ends(found['ci95'], points)}"
    if (decision := _decision(found)) == "same":
        interval += f", within {_margin(found)}"
    beginnings = {
        "helped": "Distillation helped here:",
        "hurt": "Distillation hurt here:",
        "same": "The students are practically the same here, distilled or not:",
        "unclear": f"{_unclear(found)} The distilled students score" if _unclear(found) else "No difference was found:",
    }
    return f"{beginnings[decision]} {amount} over {seeds} seeds ({interval}); {count}."


def loss_and_calibration(report: Report) -> str:
    """What distillation did to test loss and calibration, in a line; empty where nothing of it is known."""
    found = (report["comparison"] or {}).get("kd_minus_baseline") or {}
    if "test_loss" not in found:
        return ""
    loss, ece = found["test_loss"], found["ece"]
    of_loss = f" (95% interval {_ends(loss['ci95'], nats)})" if loss["ci95"] else ""
    of_ece = f" ({_ends(ece['ci95'], points)})" if ece["ci95"] else ""
    return (
        f"Distilled minus labels only: test loss {nats(loss['mean'])} nats{of_loss}, "
        f"ECE {points(ece['mean'])} points{of_ece}; of both, less is better."
    )


def against_teacher(report: Report) -> str:
    """How the distilled students compare with whoever taught them, in a line; empty where there is no such comparison.

    A report of version 1 is told without it.
    """
    found = (report["comparison"] or {}).get("kd_minus_teacher")
    if found is None or "teachers" not in report:
        return ""
    other = "teacher" if len(report["teachers"]) == 1 else "teachers together"
    over = "test images" if found["seeds"] == 1 else f"{found['seeds']} seeds"
    interval = f" (95% interval {_ends(found['ci95'], points)} over {over})" if found["ci95"] else ""
    return f"Distilled minus {other}: {points(found['mean'])} points of test accuracy{interval}."


def _decision(found: Difference) -> Verdict:
    decision: Verdict = found["verdict"] if "verdict" in found else decide(found["ci95"], 0)
    return decision


def _unclear(found: Difference) -> str:
    """What a run that can't tell could have told; empty for a report of version 1, which does not know it."""
    if "detectable" not in found:
        return ""
    return f"This run can't tell: it could have seen a difference of about {about_points(found['detectable'])} points."


def _margin(found: Difference) -> str:
    return f"±{100 * found.get('margin', 0):g} points"


def _ends(interval: Sequence[float], shown: Callable[[float], str]) -> str:
    return f"{shown(interval[0])} to {shown(interval[1])}"
