"""What the numbers say, in words no stronger than the evidence."""

from __future__ import annotations

from kdrecipes.report.facts import Report
from kdrecipes.wording import points


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
