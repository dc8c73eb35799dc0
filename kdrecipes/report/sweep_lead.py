"""How far the best point of a sweep is ahead of the second, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdrecipes.report.sweep_results import Difference, Point, SweepResults, difference, mean_of
from kdrecipes.report.sweep_validation import read_right
from kdrecipes.report.sweep_words import point_words
from kdrecipes.wording import points


def lead_of(folder: Path, done: Sequence[Point]) -> Difference | None:
    """The best point minus the second, paired by seed and validation image.

    Args:
        folder: the sweep's, whose points have a `validation.npz` each.
        done: the points, the best first.

    Returns:
        None where there is no second, where a file is missing, or where their validation images differ.
    """
    if len(done) < 2:
        return None
    try:
        (kd, plain, images), second = (read_right(folder / "points" / point["point"]) for point in done[:2])
    except (OSError, ValueError, KeyError):
        return None
    return difference(kd or plain, second[0] or second[1]) if np.array_equal(images, second[2]) else None


def leading_words(sweep: SweepResults, done: Sequence[Point], lead: Difference | None = None) -> str:
    """Which point is the best, and how far it is ahead, in a sentence or two."""
    if not done:
        return "No point is done yet."
    best, seeds = done[0], len(sweep["seeds"])
    mean = f"{100 * mean_of(best):.2f} %" + (f", the mean of {seeds} seeds" if seeds > 1 else "")
    text = f"Best by validation accuracy: point {best['point']}, {point_words(best)} ({mean})."
    if len(done) > 1:
        apart = points(mean_of(best) - mean_of(done[1])).lstrip("+")
        text += f" It is {apart} points ahead of the second, point {done[1]['point']}, {point_words(done[1])}"
        text += _standing(lead, seeds)
    return text


def _standing(lead: Difference | None, seeds: int) -> str:
    """What the interval of a lead tells, to the end of the sentence."""
    if lead and lead["ci95"]:
        low, high = lead["ci95"]
        apart = ": the two can’t be told apart" if low <= 0 <= high else ""
        return f" (95% interval {points(low)} to {points(high)} over {lead['ci95_over']}){apart}."
    if seeds == 2:
        return "; two seeds are too few for an interval."
    return "; no paired interval is there to tell whether by more than chance."
