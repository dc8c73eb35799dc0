"""`kd`: temperature-scaled KL divergence between teacher and student (Hinton, Vinyals & Dean 2015)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

# In float32 the logarithms of n probabilities carry an error of about 6e-8 · log n, which T² multiplies: at T = 1000
# two of a value's digits are left, at 10,000 none. From T = 100 on the term is all but the squared distance of logits.
GREATEST = 1000
_RULE = f"must be a number above 0 and at most {GREATEST}; beyond that T² · KL has no right digit left in float32"


class KD:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), one value per example.

    Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2: the factor
    T² keeps the gradient's size while T changes. `log_softmax` on both sides, so nothing is clipped and a confidently
    wrong student still gets its gradient.

    Args:
        temperature: T, above 0 and at most 1000: beyond it float32 keeps no digit of the value. Default 4.0.

    Raises:
        ValueError: for any other temperature.

    Example:
        ```python
        Distiller(teacher=teacher, student=student, loss=KD(temperature=4.0), weight=0.9, label_weight=0.1)
        ```
    """

    def __init__(self, temperature: float = 4.0):
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"`temperature` must be a finite number above 0. Received: temperature={temperature}")
        if temperature > GREATEST:
            raise ValueError(f"`temperature` {_RULE}. Received: temperature={temperature}")
        self.temperature = float(temperature)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        log_p = (teacher.logits / self.temperature).log_softmax(-1)
        log_q = (student.logits / self.temperature).log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1) * self.temperature**2


COMPONENT = Component(
    kind="loss",
    name="kd",
    build=KD,
    options=options(
        "loss",
        KD,
        temperature={
            "exclusiveMinimum": 0,
            "maximum": GREATEST,
            "x-rule": _RULE,
            "description": "Divides both networks' logits; above 1 it shows more of the teacher's small probabilities.",
            "examples": [1.0, 2.0, 4.0],
        },
    ),
    summary="T² · KL(teacher ‖ student) on tempered softmaxes",
)
