"""`dist`: correlation of teacher and student, within images and within classes (Huang et al. 2022)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-8
# The deviations of softmaxes from their mean shrink as 1/T, and their squares come near _EPSILON: of a hundred classes,
# in batches of 64, a correlation of 1 is a 500th too small at T = 100, and a sixth at T = 1000.
GREATEST = 100
_RULE = f"must be a number above 0 and at most {GREATEST}; beyond that softmaxes are too flat for correlations"


class DIST:
    """T² · (β · (1 − mean ρ over images) + γ · (1 − mean ρ over classes)), ρ being Pearson's correlation.

    Huang et al., "Knowledge Distillation from A Stronger Teacher", arXiv:2205.10536, eq. 8–10, with the factor T² of
    its published code. Both networks' softmaxes are compared up to shift and scale, so a student need not be as sure
    as a much larger teacher. It is a scalar: what it says of an image depends on the batch.

    Args:
        temperature: T, above 0 and at most 100: beyond it the softmaxes are all but constant. Default 1.0.
        beta: weight of the correlation within images. Default 1.0.
        gamma: weight of the correlation within classes. Default 1.0.

    Raises:
        ValueError: for any other temperature.
    """

    relational = True

    def __init__(self, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0):
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"`temperature` must be a finite number above 0. Received: temperature={temperature}")
        if temperature > GREATEST:
            raise ValueError(f"`temperature` {_RULE}. Received: temperature={temperature}")
        self.temperature, self.beta, self.gamma = float(temperature), float(beta), float(gamma)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """A scalar, in the wider dtype of the two logits; `labels` are not read."""
        q = (student.logits / self.temperature).softmax(-1)
        p = (teacher.logits / self.temperature).softmax(-1)
        within_images, within_classes = 1 - _correlation(q, p).mean(), 1 - _correlation(q.T, p.T).mean()
        return self.temperature**2 * (self.beta * within_images + self.gamma * within_classes)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's correlation of the rows of two matrices."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlation: torch.Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + _EPSILON)
    return correlation


COMPONENT = Component(
    kind="loss",
    name="dist",
    build=DIST,
    options=options(
        "loss",
        DIST,
        temperature={
            "exclusiveMinimum": 0,
            "maximum": GREATEST,
            "x-rule": _RULE,
            "description": "Divides both networks' logits.",
            "examples": [1.0, 4.0],
        },
        beta={"minimum": 0, "description": "Weight of the correlation over the classes of each image."},
        gamma={"minimum": 0, "description": "Weight of the correlation over the images of each class in the batch."},
    ),
    summary="correlation with a stronger teacher, within images and classes",
)
