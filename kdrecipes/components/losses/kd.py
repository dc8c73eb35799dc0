"""`kd`: temperature-scaled KL divergence between teacher and student (Hinton, Vinyals & Dean 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import temperature, term
from kdrecipes.components.losses.logits import divergence, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

# In float32 the logarithms of n probabilities carry an error of about 6e-8 · log n, which T² multiplies: at T = 1000
# two of a value's digits are left, at 10,000 none. From T = 100 on the term is all but the squared distance of logits.
GREATEST = 1000
_RULE = f"must be a number above 0 and at most {GREATEST}; beyond that T² · KL has no right digit left in float32"


@term(
    "kd",
    summary="T² · KL(teacher ‖ student) on tempered softmaxes",
    paper='Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2',
)
class KD:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), one value per example.

    The factor T² keeps the gradient's size while T changes. `log_softmax` on both sides, so nothing is clipped and a
    confidently wrong student still gets its gradient.

    Example:
        ```python
        Distiller(teacher=teacher, student=student, loss=KD(temperature=4.0), weight=0.9, label_weight=0.1)
        ```
    """

    temperature: float = temperature(4.0, GREATEST, _RULE)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        mine, theirs = (z / self.temperature for z in logits_of(student, teacher))
        return divergence(theirs.log_softmax(-1), mine.log_softmax(-1)) * self.temperature**2
