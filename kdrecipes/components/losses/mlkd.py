"""`mlkd`: kd at several temperatures, within images, among images and among classes (Jin et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.logits import divergence, logits_of
from kdrecipes.components.losses.several import refuse_one_image

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "mlkd",
    summary="kd at several temperatures, with Gram matrices of images and of classes",
    paper='Jin, Wang & Lin, "Multi-Level Logit Distillation", CVPR 2023: instance, batch and class alignment',
)
class MLKD:
    """Σ over T of mean(T² · KL(P ‖ Q)) + ‖P·Pᵀ − Q·Qᵀ‖² / batch + ‖Pᵀ·P − Qᵀ·Q‖² / classes, a scalar.

    P and Q are the teacher's and the student's softmax at temperature T, (batch, classes); ‖·‖² is the sum of squares.
    The second part compares images with each other, the third classes, so the value depends on the batch. The scale of
    the two is that of the published code, which has no factor T² there.

    Left out of the paper: it shows each image in a weak and in a strong view and adds up the loss of both, and in the
    weak view it leaves out images and classes of which the teacher is less sure than of half of them.
    """

    temperatures: tuple[float, ...] = option(
        (2.0, 3.0, 4.0, 5.0, 6.0),
        "Temperatures T that divide both networks' logits, in turn.",
        items={"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
        minItems=1,
    )

    relational = True

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """A scalar, in the wider dtype of the two logits; `labels` are not read.

        Raises:
            ValueError: for a batch of one image.
        """
        mine, theirs = logits_of(student, teacher)
        refuse_one_image("mlkd", mine)
        values = [_aligned(mine / one, theirs / one, one**2) for one in self.temperatures]
        return sum(values[1:], values[0])


def _aligned(mine: torch.Tensor, theirs: torch.Tensor, factor: float) -> torch.Tensor:
    """The three parts at one temperature, which logits (batch, classes) are divided by; `factor`: of the divergence."""
    log_p, log_q = theirs.log_softmax(-1), mine.log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    images, classes = p @ p.T - q @ q.T, p.T @ p - q.T @ q
    grams = images.square().sum() / len(images) + classes.square().sum() / len(classes)
    return factor * divergence(log_p, log_q).mean() + grams
