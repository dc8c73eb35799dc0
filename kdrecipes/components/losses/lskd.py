"""`lskd`: kd on standardised logits (Sun et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import temperature, term
from kdrecipes.components.losses.logits import divergence, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-7


@term(
    "lskd",
    summary="kd on standardised logits: their scale is the student's own",
    paper='Sun et al., "Logit Standardization in Knowledge Distillation", arXiv:2403.01427, algorithms 1 and 2',
)
class LSKD:
    """T² · KL(softmax(z̃_t / T) ‖ softmax(z̃_s / T)), one value per example, with z̃ = (z − mean(z)) / (std(z) + 1e-7).

    Mean and deviation are over the classes of each image. The student copies order and spacing of the teacher's logits,
    not their scale, so a label loss has to set the scale. The paper divides the deviation's sum by the number of
    classes; its published code, which is followed here, by one less. The code weighs the term by 9.

    A student whose logits are all equal, such as one with a last layer of zeros, gets a gradient of about 1e7.
    """

    temperature: float = temperature(2.0)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        mine, theirs = (_standardised(z) / self.temperature for z in logits_of(student, teacher))
        return self.temperature**2 * divergence(theirs.log_softmax(-1), mine.log_softmax(-1))


def _standardised(logits: torch.Tensor) -> torch.Tensor:
    """Logits (batch, classes) with mean 0 and deviation 1 in each row."""
    return (logits - logits.mean(-1, keepdim=True)) / (logits.std(-1, keepdim=True) + _EPSILON)
