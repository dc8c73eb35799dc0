"""Interleaved timing: what is compared runs in turns, so that a slow spell of the machine meets all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdrecipes.backend import synchronize


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians, and the quartiles of the ratios of single rounds."""

    value: float
    low: float
    high: float


def interleave(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    steps: int = 1,
    warm_up: int = 2,
    settle: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time callables in turns: A B C, B C A, C A B, …

    Args:
        candidates: by name.
        rounds: how often each is timed.
        steps: calls in a row that make up one time.
        warm_up: calls of each at the beginning that are not timed.
        settle: calls before each time that are not timed, where one candidate leaves the memory unlike another.
        clock: seconds.

    Returns:
        For each name its seconds per call, one figure a round.
    """
    names = list(candidates)
    for call in candidates.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # nobody pays for another's garbage
            for _ in range(settle):
                candidates[name]()
            synchronize()
            started = clock()
            for _ in range(steps):
                candidates[name]()
            synchronize()
            times[name].append((clock() - started) / steps)
    return times


def ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """The first's median divided by the second's.

    Args:
        over, under: seconds, the same rounds of both; at least two.
    """
    rounds = [a / b for a, b in zip(over, under, strict=True)]
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return Ratio(statistics.median(over) / statistics.median(under), low, high)


def milliseconds(seconds: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return round(1000 * statistics.median(seconds), 3)


def per_second(count: int, seconds: Sequence[float]) -> float:
    """How many of `count` things in the median time are done in a second."""
    return round(count / statistics.median(seconds), 1)
