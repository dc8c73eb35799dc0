"""The learning rate by step, as a recipe's `[train.schedule]` describes it."""

from __future__ import annotations

import math
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.recipe.tables import ScheduleTable

# BiT-HyperRule (arXiv:1912.11370, section 3.3; its published code): up to so many examples, the ends of the warm-up and
# of the three stretches between decays, as shares of all steps.
_HYPERRULE = (
    (20_000, (0.2, 0.4, 0.6, 0.8)),
    (500_000, (0.05, 0.3, 0.6, 0.9)),
    (math.inf, (0.025, 0.3, 0.6, 0.9)),
)


def learning_rate(peak: float, schedule: ScheduleTable, steps: int, examples: int) -> Any:
    """The learning rate by step: a number, or a Keras schedule."""
    if schedule.name == "bit_hyperrule":
        return HyperRule(peak, steps, examples)
    if schedule.warmup is None:
        return peak
    start, end = peak * (schedule.start or 0.0), schedule.end or 0.0
    warmup = round(schedule.warmup * steps)
    decay = max(1, steps - warmup)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(peak, decay, alpha=end)
    return keras.optimizers.schedules.CosineDecay(start, decay, alpha=end, warmup_target=peak, warmup_steps=warmup)


class HyperRule(keras.optimizers.schedules.LearningRateSchedule):
    """BiT-HyperRule: a linear rise from 0, then a tenth of the rate after each of three stretches.

    The published lengths (100 to 500 warm-up steps of 500 to 20,000) are taken as shares of the fit's own.

    Args:
        peak: the learning rate after the warm-up; the paper's is 0.003 for a batch of 512.
        steps: of the fit.
        examples: of the train split: up to 20,000, up to 500,000 or more.
    """

    def __init__(self, peak: float, steps: int, examples: int):
        super().__init__()
        self.peak, self.steps, self.examples = peak, steps, examples
        self.ends = [round(share * steps) for share in next(ends for n, ends in _HYPERRULE if examples <= n)]

    def __call__(self, step: Any) -> float:
        """The learning rate at a step, counted from 0."""
        now, (warmup, *decays) = int(step), self.ends
        if now < warmup:
            return self.peak * now / warmup
        return self.peak * 0.1 ** sum(now >= end for end in decays)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"peak": self.peak, "steps": self.steps, "examples": self.examples}
