"""`dist`: correlation of teacher and student, within images and within classes (Huang et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.logits import logits_of
from kdrecipes.components.losses.several import refuse_one_image

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-8
# The deviations of softmaxes from their mean shrink as 1/T, and their squares come near _EPSILON: of a hundred classes,
# in batches of 64, a correlation of 1 is a 500th too small at T = 100, and a sixth at T = 1000.
GREATEST = 100
_RULE = f"must be a number above 0 and at most {GREATEST}; beyond that softmaxes are too flat for correlations"


@term(
    "dist",
    summary="correlation with a stronger teacher, within images and classes",
    paper='Huang et al., "Knowledge Distillation from A Stronger Teacher", arXiv:2205.10536, eq. 8-10, with the factor '
    "T² of its published code",
)
class DIST:
    """T² · (β · (1 − mean ρ over images) + γ · (1 − mean ρ over classes)), ρ being Pearson's correlation.

    Both networks' softmaxes are compared up to shift and scale, so a student need not be as sure as a much larger
    teacher. It is a scalar: what it says of an image depends on the batch. By the published formula ρ is 0 where a
    softmax is constant, over an image's classes or over a class's images: there the term is not 0 between equals.
    """

    temperature: float = temperature(1.0, GREATEST, _RULE, "Divides both networks' logits.")
    beta: float = option(1.0, "Weight of the correlation over the classes of each image.", minimum=0)
    gamma: float = option(1.0, "Weight of the correlation over the images of each class in the batch.", minimum=0)

    relational = True

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """A scalar, in the wider dtype of the two logits; `labels` are not read.

        Raises:
            ValueError: for a batch of one image.
        """
        refuse_one_image("dist", student.logits)
        q, p = ((z / self.temperature).softmax(-1) for z in logits_of(student, teacher))
        within_images, within_classes = 1 - _correlation(q, p).mean(), 1 - _correlation(q.T, p.T).mean()
        return self.temperature**2 * (self.beta * within_images + self.gamma * within_classes)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's correlation of the rows of two matrices."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlation: torch.Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + _EPSILON)
    return correlation
