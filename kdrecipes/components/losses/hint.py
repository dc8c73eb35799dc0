"""`hint`: the mean squared distance between chosen features of student and teacher (FitNets, Romero et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.pairs import Pair, pairs_of, summed
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "hint",
    summary="mean squared distance between chosen features (FitNets)",
    paper='Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, equation 3, with the mean over a '
    "feature's elements instead of half their sum, so that the value does not grow with the feature's size",
    layers=pairs(),
)
class Hint:
    """Σ over the named pairs of layers of mean((student − teacher)²), one value per example.

    `student_layers` and `teacher_layers` name layers, equally many. Two layers of a pair whose shapes differ raise a
    ValueError at the first step. Widths and sizes that differ need a projector: `projector = "linear"` in a recipe,
    `Projected(Hint(…))` in Python.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        return summed(_distance(pair) for pair in pairs_of(self, student, teacher))


def _distance(pair: Pair) -> torch.Tensor:
    if pair.student.shape != pair.teacher.shape:
        raise ValueError(
            f'{pair.shapes()}: shapes must be equal. `projector = "linear"` (Python: `Projected`) maps widths, and '
            "averages the larger of two maps."
        )
    return (pair.student - pair.teacher).square().flatten(1).mean(1)
