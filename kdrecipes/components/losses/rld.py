"""`rld`: a teacher's logits refined by the labels (Sun et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.logits import (
    divergence,
    divergence_of_two,
    log_softmax_within,
    logits_of,
    of_class,
    one_and_rest,
)

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "rld",
    summary="kd that leaves out what the teacher ranks above the label",
    paper='Sun et al., "Knowledge Distillation with Refined Logits", arXiv:2408.07703: sample confidence and masked '
    "correlation",
)
class RLD:
    """α · KL((p_max, 1 − p_max) ‖ (q_y, 1 − q_y)) + β · T² · KL(p̂ ‖ q̂), one value per example.

    y is the label's class. In the first part, at T = 1, the student shall be as sure of the label as the teacher is of
    its most probable class, right or wrong. p̂ and q̂ are the teacher's and the student's softmax at temperature T over
    the classes whose logit of the teacher is below that of y: what the teacher ranks at or above the label is left out,
    y too. Where no class is left the second part is 0. The value of a student that agrees with its teacher is 0 where
    the teacher is right.

    A mixed label counts as the class of its largest share. Where a label is missing the teacher's most probable class
    stands in for it.
    """

    alpha: float = option(1.0, "Weight α of the part on the label's class against the rest.", minimum=0)
    beta: float = option(8.0, "Weight β of the part on the classes below the label's.", minimum=0)
    temperature: float = temperature(4.0, description="Divides both networks' logits in the part weighed by beta.")

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels`: int64 (batch,) or mixed."""
        classes = classes_of(labels, teacher.logits)
        mine, theirs = logits_of(student, teacher)
        confidence = divergence_of_two(
            one_and_rest(theirs.log_softmax(-1), theirs.argmax(-1)), one_and_rest(mine.log_softmax(-1), classes)
        )
        below = theirs < of_class(theirs, classes)[:, None]
        some = below.any(-1)
        kept = below | ~some[:, None]  # all where none is left: a softmax over nothing has no gradient
        order = divergence(*(log_softmax_within(z / self.temperature, kept) for z in (theirs, mine)))
        return self.alpha * confidence + self.beta * self.temperature**2 * order.where(some, 0)
