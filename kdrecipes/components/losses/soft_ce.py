"""`soft_ce`: cross-entropy with the teacher's probabilities as labels (Hinton, Vinyals & Dean 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import temperature, term
from kdrecipes.components.losses.logits import logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "soft_ce",
    summary="T² · cross-entropy with the teacher's probabilities",
    paper='Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2',
)
class SoftCE:
    """−T² · Σ_k p_k · log q_k, with p = softmax(teacher / T) and q = softmax(student / T), one value per example.

    It is `kd` and T² times the entropy of the teacher's probabilities. The student has no part in that entropy, so the
    gradient is that of `kd`; the value of a student that agrees with its teacher is not 0.
    """

    temperature: float = temperature(4.0)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        mine, theirs = (z / self.temperature for z in logits_of(student, teacher))
        return -(self.temperature**2) * (theirs.softmax(-1) * mine.log_softmax(-1)).sum(-1)
