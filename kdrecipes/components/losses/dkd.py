"""`dkd`: kd taken apart into the label's class and all others (Zhao et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.logits import (
    divergence,
    divergence_of_two,
    is_class,
    log_softmax_within,
    logits_of,
    one_and_rest,
)

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "dkd",
    summary="kd taken apart: the label's class, and the others among themselves",
    paper='Zhao et al., "Decoupled Knowledge Distillation", arXiv:2203.08679, eq. 7, with the factor T² of its '
    "published code",
)
class DKD:
    """T² · (α · KL(b(p) ‖ b(q)) + β · KL(p̂ ‖ q̂)), one value per example.

    p and q are the teacher's and the student's softmax at temperature T. b(p) is the pair of p at the label's class and
    of all the rest; p̂ is p over the other classes alone, made to sum to 1. `kd` weighs the second part by the rest's
    share of p: a teacher that is sure of the label silences it. Here β stands in its place.

    A mixed label counts as the class of its largest share. Where a label is missing the teacher's most probable class
    stands in for it. The defaults are the paper's for CIFAR-100; for ImageNet it has T = 1 and β from 0.5 to 2. Its
    code lets the weight of the term grow over the first epochs (20 of 240); that is no part of the term.
    """

    alpha: float = option(1.0, "Weight α of the part on the label's class against the rest.", minimum=0)
    beta: float = option(8.0, "Weight β of the part on the other classes among themselves.", minimum=0)
    temperature: float = temperature(4.0)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels`: int64 (batch,) or mixed."""
        classes = classes_of(labels, teacher.logits)
        mine, theirs = (z / self.temperature for z in logits_of(student, teacher))
        others = ~is_class(theirs, classes)
        target = divergence_of_two(*(one_and_rest(z.log_softmax(-1), classes) for z in (theirs, mine)))
        rest = divergence(*(log_softmax_within(z, others) for z in (theirs, mine)))  # 0 at the label's class
        return self.temperature**2 * (self.alpha * target + self.beta * rest)
