"""Paired differences in test accuracy, with their interval and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from kdrecipes.report.intervals import detectable, finest, over_pairs
from kdrecipes.report.verdict import decide

Right = Mapping[int, NDArray[Any]]  # by seed: bool (test images,), what a student told right


def paired_accuracy(firsts: Right, seconds: Right, margin: float) -> dict[str, Any] | None:
    """The first students minus the second in test accuracy, paired by seed and image; None without a common seed.

    Args:
        firsts, seconds: what they told right, of the same images.
        margin: share of accuracy below which a difference is practically none.

    Returns:
        `mean` over the common `seeds` (a list); `ci95`, its 95% interval: one seed, the paired bootstrap over test
        images; three or more, a t interval over seeds; two, None; `ci95_over`; `detectable`, the difference that could
        have been seen (see `intervals.detectable`); `margin`; `verdict`: "helped" where the first are better, "hurt"
        where they are worse, "same", "unclear". All differences are shares.
    """
    seeds = [seed for seed in firsts if seed in seconds]
    if not seeds:
        return None
    pairs = [(firsts[seed], seconds[seed]) for seed in seeds]
    mean, interval = over_pairs(pairs)
    seen, judged = detectable([a.astype(int) - b.astype(int) for a, b in pairs]), interval
    if interval and interval[0] == interval[1]:  # no spread: it is seen as finely as the test images are many
        share = finest(len(pairs[0][0]))
        seen, judged = max(seen or 0.0, share), [interval[0] - share, interval[1] + share]
    return {
        "mean": mean,
        "ci95": interval,
        "ci95_over": "seeds" if len(seeds) > 1 else "test images",
        "seeds": seeds,
        "detectable": seen,
        "margin": margin,
        "verdict": decide(judged, margin),
    }
