"""What is said of a sweep's confirmed points: what their intervals are over, and how far their verdicts reach."""

from __future__ import annotations

from kdrecipes.report.short_verdicts import ONE_SEED
from kdrecipes.report.sweep_results import SweepResults

MORE_SEEDS = "a sweep with --seeds 0,1,2 confirms with three"


def confirmed_words(sweep: SweepResults) -> str:
    """What the intervals of the confirmed points are over; of one seed, that it says little. Empty without any."""
    found = [one["kd_minus_baseline"] for one in sweep["confirmed"] if one["kd_minus_baseline"]]
    if not found:
        return ""
    count = found[0]["seeds"]
    if count == 1:
        text = "In parentheses: 95% intervals over the test images of the seed; they speak of these two students."
        return f"{text} {ONE_SEED}: {MORE_SEEDS}."
    if count == 2:
        return "Two seeds are too few for intervals."
    return "In parentheses: 95% intervals over seeds."
