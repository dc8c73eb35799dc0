"""`ofa_logit`: the logit part of OFA-KD, for networks of unlike families (Hao et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.logits import is_class, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "ofa_logit",
    summary="soft labels with the label's class enhanced, across families",
    paper='Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation", '
    "arXiv:2310.19444, the OFA loss, as its published code writes it",
)
class OFALogit:
    """−Σ_k ((p_k + [k = y])^ε − [k = y]) · log q_k, one value per example, y being the label's class.

    p and q are the teacher's and the student's softmax at temperature T; there is no factor T². At ε = 1 it is the
    cross-entropy with the teacher's probabilities. A larger ε raises the share of the label's class, the more the surer
    the teacher is of it, and lowers the others. The paper's formula counts the label loss in and raises the share of
    the label's class alone to the power. The published code raises every share and leaves the label loss out; it is
    followed here. The value of a student that agrees with its teacher is not 0.

    A mixed label counts as the class of its largest share. Where a label is missing the teacher's most probable class
    stands in for it. The default is the paper's for CIFAR-100; for ImageNet it has up to 1.5.
    """

    epsilon: float = option(
        1.0, "Power ε that enhances the label's class; 1: not at all.", exclusiveMinimum=0, maximum=100
    )
    temperature: float = temperature(1.0)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels`: int64 (batch,) or mixed."""
        mine, theirs = (z / self.temperature for z in logits_of(student, teacher))
        label = is_class(theirs, classes_of(labels, teacher.logits)).to(theirs.dtype)
        share = (theirs.softmax(-1) + label) ** self.epsilon - label
        return -(share * mine.log_softmax(-1)).sum(-1)
