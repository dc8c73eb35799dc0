"""Which trained student of a run is meant, by arm and seed; from the run's facts alone, without torch."""

from __future__ import annotations

from pathlib import Path

from kdrecipes.errors import UsageError
from kdrecipes.report.facts import ArmFacts, read_arms


def arm_of(run: Path, arm: str, seed: int | None) -> ArmFacts:
    """A trained student of a run.

    Args:
        run: the run folder.
        arm: "baseline" or "kd".
        seed: absent: the first one.

    Raises:
        UsageError: when there is none; what there is is named.
    """
    arms = read_arms(run)
    for facts in arms.values():
        if facts.arm == arm and seed in (None, facts.seed):
            return facts
    wanted = arm if seed is None else f"{arm}-{seed}"
    there = ", ".join(arms) or "none yet"
    raise UsageError(f"{run} has no trained student {wanted}. It has: {there}.")
