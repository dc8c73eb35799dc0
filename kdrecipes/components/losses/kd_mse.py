"""`kd_mse`: the mean squared distance of logits (Ba & Caruana 2014; Kim et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.logits import logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "kd_mse",
    summary="mean squared distance between logits",
    paper='Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation", '
    "arXiv:2105.08919, its MSE loss, with the mean over classes instead of their sum, so that the "
    "value does not grow with the number of classes; it goes back to Ba & Caruana, arXiv:1312.6184",
)
class KDMSE:
    """Mean over the classes of (student's logit − teacher's logit)², one value per example.

    It asks for the logits themselves and not only for their differences: a shift of all logits of an image counts.
    """

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        mine, theirs = logits_of(student, teacher)
        return (mine - theirs).square().mean(-1)
