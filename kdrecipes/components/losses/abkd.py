"""`abkd`: the α-β-divergence, which lies between forward and reverse KL (Wang et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.logits import logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

# 1 / (α · β) multiplies float32's error of 1e-7: below this only the limit at 0 has digits left.
LEAST = 0.01
GAP = [{"const": 0}, {"minimum": LEAST}]
RULE = f"must be 0, or at least {LEAST} and at most 10; between 0 and {LEAST} float32 has no digit of it"


@term(
    "abkd",
    summary="α-β-divergence, between forward and reverse KL",
    paper='Wang et al., "ABKD: Pursuing a Proper Allocation of the Probability Mass in Knowledge Distillation via '
    'α-β-Divergence", arXiv:2505.04560, the α-β-divergence, with its limits at 0',
)
class ABKD:
    """−1/(αβ) · Σ_k (p_k^α · q_k^β − α/(α+β) · p_k^(α+β) − β/(α+β) · q_k^(α+β)), one value per example.

    p and q are the teacher's and the student's softmax at temperature T; there is no factor T². Where α or β is 0 the
    value is the limit of the formula: KL(p ‖ q) at (1, 0), KL(q ‖ p) at (0, 1), half the squared distance of log p and
    log q at (0, 0). A larger α lets large errors count more, a larger β the student's own confidence. The defaults are
    the example of the paper's code for CIFAR-100, where the term weighs 32.
    """

    alpha: float = option(0.8, "Power α of the teacher's probabilities.", minimum=0, maximum=10, anyOf=GAP, x_rule=RULE)
    beta: float = option(0.3, "Power β of the student's probabilities.", minimum=0, maximum=10, anyOf=GAP, x_rule=RULE)
    temperature: float = temperature(4.0)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        log_q, log_p = ((z / self.temperature).log_softmax(-1) for z in logits_of(student, teacher))
        return _divergence(log_p, log_q, self.alpha, self.beta)


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """The α-β-divergence, (batch,), of the logarithms of probabilities, (batch, classes); α and β are 0 or more."""
    if not alpha and not beta:
        return (log_p - log_q).square().sum(-1) / 2
    if not alpha:
        return _divergence(log_q, log_p, beta, alpha)
    p = (alpha * log_p).exp()
    if not beta:
        return (p * alpha * (log_p - log_q) - p + (alpha * log_q).exp()).sum(-1) / alpha**2
    both = alpha + beta
    of_p, of_q = ((both * log).exp() for log in (log_p, log_q))
    return (alpha / both * of_p + beta / both * of_q - p * (beta * log_q).exp()).sum(-1) / (alpha * beta)
