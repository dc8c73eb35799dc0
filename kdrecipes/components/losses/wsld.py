"""`wsld`: soft labels weighed by how much the student still has to learn (Zhou et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import temperature, term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.logits import logits_of, of_class

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-7


@term(
    "wsld",
    summary="soft labels, weighed by how much better the teacher knows the label",
    paper='Zhou et al., "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective", '
    "arXiv:2102.00650, the weighted soft labels, with the factor T² of its published code",
)
class WSLD:
    """−T² · w · Σ_k p_k · log q_k, with w = 1 − exp(−CE_s / (CE_t + 1e-7)), one value per example.

    p and q are the teacher's and the student's softmax at temperature T. CE_s and CE_t are their cross-entropies with
    the label at T = 1. w goes from 0, where the student knows the label and the teacher does not, to 1. It gets no
    gradient. The value of a student that agrees with its teacher is not 0.

    A mixed label counts as the class of its largest share. Where a label is missing the teacher's most probable class
    stands in for it. The default is the paper's for ImageNet, where the term weighs 2.5; for CIFAR-100 it has T = 4 and
    2.25.
    """

    temperature: float = temperature(2.0)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels`: int64 (batch,) or mixed."""
        classes = classes_of(labels, teacher.logits)
        mine, theirs = logits_of(student, teacher)
        own, heard = (-of_class(z.detach().log_softmax(-1), classes) for z in (mine, theirs))
        weight = 1 - (-own / (heard + _EPSILON)).exp()
        p, log_q = (theirs / self.temperature).softmax(-1), (mine / self.temperature).log_softmax(-1)
        return -(self.temperature**2) * weight * (p * log_q).sum(-1)
