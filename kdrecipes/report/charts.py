"""All charts of a report, by the section of the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from kdrecipes.report.drawing import ROLES, Chart
from kdrecipes.report.facts import Facts, Report
from kdrecipes.report.learning_curves import learning_curves
from kdrecipes.report.per_class import Gain, gains_of, per_class
from kdrecipes.report.reliability import reliability
from kdrecipes.report.table import taught_by_words
from kdrecipes.report.tradeoff import tradeoffs


@dataclass(frozen=True)
class Charts:
    """The charts of a report; `gains` are what the one of the classes is drawn from."""

    tradeoffs: list[Chart]
    training: list[Chart]
    reliability: list[Chart]
    classes: list[Chart]
    gains: list[Gain] = field(default_factory=list)

    @property
    def all(self) -> list[Chart]:
        """In the order of the page."""
        return [*self.tradeoffs, *self.training, *self.reliability, *self.classes]


def charts_of(report: Report, facts: Facts) -> Charts:
    """What there is to draw of a run."""
    found = logits_by_role(facts)
    seeds = {role: [arm.seed for arm in facts.arms.values() if arm.arm == role] for role in ("baseline", "kd")}
    shared = [seed for seed in seeds["kd"] if seed in seeds["baseline"]]
    pairs = [[found[role][seeds[role].index(seed)] for seed in shared] for role in ("kd", "baseline")]
    gains = gains_of(pairs[0], pairs[1], facts.labels, facts.dataset.classes) if shared else []
    chart = per_class(gains)
    return Charts(
        tradeoffs=list(tradeoffs(report)),
        training=list(learning_curves(facts.rows)),
        reliability=list(reliability(found, facts.labels, {**ROLES, "teacher": taught_by_words(report)})),
        classes=[chart] if chart else [],
        gains=gains,
    )


def logits_by_role(facts: Facts) -> Mapping[str, Sequence[NDArray[Any]]]:
    """By role, float32 (test images, classes) of each seed; of teachers, of what taught."""
    found = {role: [facts.logits[label] for label, arm in facts.arms.items() if arm.arm == role] for role in ROLES}
    found["teacher"] = [] if facts.taught is None else [facts.taught]
    return found
