"""`teacher_free`: kd with a virtual teacher that is always right and never quite sure (Yuan et al. 2020)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.labels import classes_of, known
from kdrecipes.components.losses.logits import divergence, is_class, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "teacher_free",
    summary="kd with a virtual teacher that knows the labels (Tf-KD)",
    paper='Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", arXiv:1909.11723, '
    "Tf-KD by manually designed regularization, with the factor T² of `kd`",
)
class TeacherFree:
    """T² · KL(u_T ‖ softmax(student / T)), one value per example, u_T being a virtual teacher's softmax at T.

    The virtual teacher gives the label's class the probability a and every other class (1 − a) / (classes − 1). Its
    logits are the logarithms of these; divided by T they become u_T. The paper is followed: its published code divides
    the probabilities themselves by T and leaves the student's logits as they are.

    No teacher is heard where there is a label, and the term says so: `hears_teacher = False`. It tells what a recipe's
    teacher is worth beyond smoothed labels. A mixed label counts as the class of its largest share. Where a label is
    missing the real teacher's most probable class stands in for it. In a script it works with `teacher=None`.
    """

    confidence: float = option(
        0.99,
        "Probability a that the virtual teacher gives the label's class; the paper has 0.9 and above.",
        exclusiveMinimum=0,
        exclusiveMaximum=1,
    )
    temperature: float = temperature(20.0, description="Divides the virtual teacher's logits and the student's.")

    hears_teacher = False

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the dtype of the student's logits; `labels`: int64 (batch,) or mixed."""
        mine, _ = logits_of(student, student)
        heard = student if labels is not None and known(labels).all() else teacher  # where nobody stands in
        label = is_class(mine, classes_of(labels, heard.logits))
        others = math.log((1 - self.confidence) / (mine.shape[-1] - 1))
        virtual = mine.new_full(mine.shape, others).masked_fill(label, math.log(self.confidence))
        log_p, log_q = ((z / self.temperature).log_softmax(-1) for z in (virtual, mine))
        return self.temperature**2 * divergence(log_p, log_q)
