"""`wttm`: ttm, weighed by how smooth the teacher is about an example (Zheng & Yang 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.logits import divergence, logits_of
from kdrecipes.components.losses.ttm import PAPER

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term("wttm", summary="ttm, with more weight where the teacher is less sure", paper=f"{PAPER}, section 4")
class WTTM:
    """U · KL(p̃ ‖ softmax(student)), with U = Σ_k p_k^γ and p̃ = p^γ / U, one value per example.

    p is the teacher's softmax; γ is 1 / T. U is 1 where the teacher is certain of one class and grows, up to
    classes^(1 − γ), with the smoothness of its probabilities. The student's logits are not divided and there is no
    factor T². The default is that of the paper's code beside `crd`, where the term weighs 4. The paper chooses γ and
    the weight for each pair of networks.
    """

    gamma: float = option(0.2, "Power γ of the teacher's probabilities, 1 / T.", exclusiveMinimum=0, maximum=1000)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        mine, theirs = logits_of(student, teacher)
        powers = self.gamma * theirs.log_softmax(-1)
        return powers.exp().sum(-1) * divergence(powers.log_softmax(-1), mine.log_softmax(-1))
