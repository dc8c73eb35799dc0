"""What a paired difference tells, in a few words of a table: of one seed no more than of these very students."""

from __future__ import annotations

from collections.abc import Sequence

NO_VERDICT = "–"
ONE_SEED = "One seed says nothing about distillation in general"  # a point or a colon follows
_OF_DISTILLATION = {
    "helped": "distilled is better",
    "hurt": "distilled is worse",
    "same": "practically the same",
    "unclear": "can’t tell",
}
_OF_TWO_STUDENTS = {
    "helped": "of these two students the distilled one is better",
    "hurt": "of these two students the distilled one is worse",
    "same": "these two students are practically the same",
    "unclear": "can’t tell these two students apart",
}
_OF_RUNS = {"helped": "better", "hurt": "worse", "same": "practically the same", "unclear": "can’t tell"}


def of_distillation(verdict: str | None, seeds: int) -> str:
    """Of distilled − labels only, over so many seeds; a dash without a verdict."""
    words = _OF_TWO_STUDENTS if seeds == 1 else _OF_DISTILLATION
    return words[verdict] if verdict else NO_VERDICT


def of_runs(verdict: str, seeds: int, name: str) -> str:
    """Of one run, which is called so, minus another, over so many common seeds."""
    if seeds > 1:
        return _OF_RUNS[verdict]
    if verdict in ("same", "unclear"):
        return _OF_TWO_STUDENTS[verdict]
    return f"of these two students that of {name} is {_OF_RUNS[verdict]}"


def seeds_words(seeds: Sequence[int]) -> str:
    """`[3]` → `"seed 3"`, `[3, 4, 5]` → `"seeds 3, 4, 5"`, which nobody reads as a count."""
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
