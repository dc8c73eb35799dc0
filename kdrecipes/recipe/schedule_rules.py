"""Rules between the keys of a term's `schedule`."""

from __future__ import annotations

from collections.abc import Iterator

from kdrecipes.recipe.positions import Path
from kdrecipes.recipe.rule import Broken, Rule
from kdrecipes.recipe.structure import Data, show

_ALWAYS_ZERO: Data = {
    **{"type": "object", "required": ["name", "start"]},
    "properties": {"name": {"enum": ["linear", "cosine"]}, "start": {"const": 0}, "end": {"const": 0}},  # absent: 0
}
_COUNTS: Data = {
    "properties": {"schedule": {"description": "How the weight changes over the run.", "not": _ALWAYS_ZERO}}
}


def _never_counts(path: Path, term: Data) -> Iterator[Broken]:
    rule = "must be above 0 where `end` is 0: the term would have no weight at any step"
    yield Broken((*path, "schedule", "start"), rule, show(term["schedule"]["start"]))


SCHEDULE_RULES = (
    Rule("nothing-to-learn", "loss", _never_counts, _COUNTS, whole=True),
    Rule("nothing-to-learn", "term", _never_counts, _COUNTS),
)
