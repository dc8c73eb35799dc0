"""Whether the students' batch-norm statistics are estimated anew at the end: decided once, for both arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.data.prepare import Data
from kdrecipes.recipe.recalibration import BATCHES, FEW_STEPS
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import ArmFacts
from kdrecipes.runs.build import build_model
from kdrecipes.runs.decisions import Decision
from kdrecipes.training.batch_norm import slowest_momentum


def choose_recalibration(recipe: Recipe, data: Data, trained: Mapping[str, ArmFacts]) -> Decision:
    """From how many batches, at most, each student's statistics are estimated anew; 0 where they are not.

    Args:
        recipe, data: of the run.
        trained: the students that are there already; others are treated as they were.
    """
    written = recipe.train.recalibrate_batch_norm
    if written is not None:
        return Decision(written, f"train.recalibrate_batch_norm = {written}")
    if trained:  # by a version that did not decide
        return Decision(0, "the students that are there were trained without")
    steps = recipe.train.epochs * data.mixture(recipe, taught=bool(recipe.teachers)).steps
    if steps >= FEW_STEPS:
        return Decision(0, f"{steps:,} steps are enough")
    if slowest_momentum(build_model(recipe, recipe.student, data)) is None:
        return Decision(0, "the student has no batch normalisation that learns")
    return Decision(BATCHES, f"{steps:,} steps are fewer than {FEW_STEPS}")


def recalibration_note(recipe: Recipe, decision: Decision) -> str:
    """A line for the user, where the recipe did not ask for it; else empty."""
    if not decision.use or recipe.train.recalibrate_batch_norm is not None:
        return ""
    return (
        f"students: batch-norm statistics are estimated anew at the end, from up to {decision.use} batches, since "
        f"{decision.why}: what is validated before the last epoch may look far worse. "
        "train.recalibrate_batch_norm = 0 leaves the moving ones."
    )


def batch_norm_facts(student: keras.Model, decision: Decision, batches: int) -> dict[str, Any]:
    """What the report says of a trained student's batch normalisation; empty where it has none that learns.

    Args:
        student: as it was trained.
        decision: from `choose_recalibration`.
        batches: from how many its statistics were estimated anew; 0 where they were not.
    """
    momentum = slowest_momentum(student)
    return {} if momentum is None else {"momentum": momentum, "reestimated": batches, "why": decision.why}
