"""`nkd`: soft labels for the target and, normalised, for all other classes (Yang et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.logits import is_class, log_softmax_within, logits_of, of_class

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "nkd",
    summary="cross-entropy with the teacher at the label, and among the other classes",
    paper='Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with '
    'Normalized Loss and Customized Soft Labels", arXiv:2303.13005, the NKD loss without its label loss',
)
class NKD:
    """−p_y · log q_y − γ · T² · Σ_{k≠y} p̂_k · log q̂_k, one value per example, y being the label's class.

    p_y and q_y are the teacher's and the student's probabilities at T = 1. p̂ and q̂ are their softmaxes at
    temperature T over the classes other than y. Both parts are cross-entropies, so the value of a student that agrees
    with its teacher is not 0.

    A mixed label counts as the class of its largest share. Where a label is missing the teacher's most probable class
    stands in for it. The defaults are the paper's for ImageNet; for CIFAR-100 it has γ = 3.5 and T = 3.
    """

    gamma: float = option(1.5, "Weight γ of the part on the other classes.", minimum=0)
    temperature: float = temperature(1.0, description="Divides both networks' logits in the part on other classes.")

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels`: int64 (batch,) or mixed."""
        classes = classes_of(labels, teacher.logits)
        mine, theirs = logits_of(student, teacher)
        others = ~is_class(theirs, classes)
        target = of_class(theirs.softmax(-1), classes) * of_class(mine.log_softmax(-1), classes)
        log_p, log_q = (log_softmax_within(z / self.temperature, others) for z in (theirs, mine))
        return -target - self.gamma * self.temperature**2 * (log_p.exp() * log_q).sum(-1)
