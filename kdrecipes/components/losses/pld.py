"""`pld`: the teacher's ranking of the classes, as a Plackett-Luce model (Bassam, Zhu & Bian 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.logits import is_class, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "pld",
    summary="the teacher's ranking of the classes, after the label",
    paper='Bassam, Zhu & Bian, "PLD: A Choice-Theoretic List-Wise Knowledge Distillation", arXiv:2506.12542, the PLD '
    "loss, read from the paper without its code",
)
class PLD:
    """Σ_k p_π(k) · (log Σ_{l≥k} exp(z_π(l)) − z_π(k)), one value per example, z being the student's logits.

    π is the ranking that is taught: the label's class first, then the others by the teacher's logits, the largest
    first. p is the teacher's softmax: a choice counts as much as the teacher believes in the class. The first of the
    choices is a cross-entropy with the label that weighs p_y; the paper has no further label loss beside the term.
    The value of a student that agrees with its teacher is not 0.

    A mixed label counts as the class of its largest share. Where a label is missing the teacher's most probable class
    stands in for it.
    """

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels`: int64 (batch,) or mixed."""
        mine, theirs = logits_of(student, teacher)
        label = is_class(theirs, classes_of(labels, theirs))
        ranking = theirs.masked_fill(label, float("inf")).argsort(-1, descending=True)
        z, p = mine.gather(-1, ranking), theirs.softmax(-1).gather(-1, ranking)
        left = z.flip(-1).logcumsumexp(-1).flip(-1)  # over the classes that no choice has taken yet
        return (p * (left - z)).sum(-1)
