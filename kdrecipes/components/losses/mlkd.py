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
        temperatures = mine.new_tensor(self.temperatures)[:, None, None]  # all at once: (temperatures, batch, classes)
        log_p, log_q = ((z / temperatures).log_softmax(-1) for z in (theirs, mine))
        images, classes = _grams_apart(log_p.exp(), log_q.exp())
        within_images = (temperatures[:, 0] ** 2 * divergence(log_p, log_q)).mean(1).sum()
        return within_images + images.sum() / log_p.shape[1] + classes.sum() / log_p.shape[2]


def _grams_apart(p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """‖P·Pᵀ − Q·Qᵀ‖² and ‖Pᵀ·P − Qᵀ·Q‖² of matrices (temperatures, batch, classes), a value for each temperature.

    With D = P − Q and S = P + Q the first difference is (S·Dᵀ + D·Sᵀ) / 2 and the second (Sᵀ·D + Dᵀ·S) / 2. So the
    second needs no matrix of classes × classes, and where P is near Q nothing large is subtracted.
    """
    apart, both = p - q, p + q
    crossed = both @ apart.mT
    images = (crossed + crossed.mT).square().sum((1, 2)) / 4
    classes = ((apart @ apart.mT) * (both @ both.mT) + crossed * crossed.mT).sum((1, 2)) / 2
    return images, classes
