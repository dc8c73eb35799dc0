"""`ttm`: the student matches a teacher raised to a power, at its own temperature of 1 (Zheng & Yang 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.logits import divergence, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

PAPER = 'Zheng & Yang, "Knowledge Distillation Based on Transformed Teacher Matching", arXiv:2402.11148'


@term("ttm", summary="the teacher tempered, the student not", paper=f"{PAPER}, section 3, the part D(p_T ‖ q) of TTM")
class TTM:
    """KL(p̃ ‖ softmax(student)), with p̃ = softmax(γ · teacher), one value per example.

    p̃ is the teacher's softmax raised to the power γ and made to sum to 1; γ is 1 / T. The student's logits are not
    divided, which keeps its probabilities less sure than `kd` does: only at γ = 1 is 0 reached by the teacher's logits.
    There is no factor T². The paper chooses γ and the weight for each pair of networks; the default is the example of
    its code, where the term weighs 45.
    """

    gamma: float = option(0.1, "Power γ of the teacher's probabilities, 1 / T.", exclusiveMinimum=0, maximum=1000)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        mine, theirs = logits_of(student, teacher)
        return divergence((self.gamma * theirs).log_softmax(-1), mine.log_softmax(-1))
