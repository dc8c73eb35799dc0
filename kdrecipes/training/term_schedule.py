"""A term's weight over a fit, as a recipe's `schedule` of the term describes it."""

from __future__ import annotations

import math

from kdrecipes.recipe.tables import ScheduleTable
from kdrecipes.training.loss_parts import Weight


def weight_over(weight: float, schedule: ScheduleTable | None) -> Weight:
    """The weight of a term over a fit.

    - constant, or None: `weight` at every step.
    - warmup: a straight line from 0 to `weight` over the share `length` of the fit, then `weight`.
    - linear: a straight line from `start` · `weight` to `end` · `weight` over the share `length`, then that.
    - cosine: the same along half a cosine: slow, fast, slow.

    Args:
        weight: the term's, 0 or more.
        schedule: its table; `length` above 0 and at most 1, `start` and `end` 0 or more.

    Returns:
        A number, or a function of the share of the fit's steps that are done, 0 to 1.
    """
    if schedule is None or schedule.name == "constant":
        return weight
    name, length = schedule.name, schedule.length or 1.0
    start, end = (0.0, 1.0) if name == "warmup" else (schedule.start or 0.0, schedule.end or 0.0)

    def at(share: float) -> float:
        done = min(share / length, 1.0)
        if name == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return weight * ((1 - done) * start + done * end)

    return at
