"""`ctkd`: `kd` at a temperature that learns to make the student's task harder (Li et al. 2023)."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.logits import divergence, logits_of

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "ctkd",
    summary="T² · KL at a temperature that learns against the student (CTKD)",
    paper='Li et al., "Curriculum Temperature for Knowledge Distillation", arXiv:2211.16231, the one '
    "temperature for all images (Global-T); θ starts at 1, as in the published code",
)
class CTKD:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)) at T = tau_init + tau_range · sigmoid(θ), one per example.

    The number θ learns with the student, but against it: its gradient is multiplied by −λ. λ goes from lambda_min
    to lambda_max along half a cosine, in the first `loop_epochs` epochs. θ is no part of the student.
    """

    tau_init: float = option(1.0, "The least temperature, τ_init.", exclusiveMinimum=0, maximum=1000)
    tau_range: float = option(20.0, "How far above it the temperature may go, τ_range.", minimum=0, maximum=1000)
    lambda_min: float = option(0.0, "λ as training begins.", minimum=0)
    lambda_max: float = option(1.0, "λ after `loop_epochs` epochs.", minimum=0)
    loop_epochs: float = option(10.0, "Epochs in which λ grows, E_loops.", exclusiveMinimum=0)

    parts: list[Any] = field(default_factory=list, init=False, repr=False)
    strength: float = field(default=0.0, init=False, repr=False)  # λ, here and now

    def __post_init__(self) -> None:
        if self.lambda_max < self.lambda_min:
            raise ValueError(f"`lambda_max` is at least lambda_min. Received: {self.lambda_max} and {self.lambda_min}")
        self.at(0.0)

    def at(self, progress: float) -> None:
        """Set λ for a number of epochs that are done."""
        share = min(progress / self.loop_epochs, 1.0)
        self.strength = self.lambda_min + (self.lambda_max - self.lambda_min) * (1 - math.cos(math.pi * share)) / 2

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,), in the wider dtype of the two logits; `labels` are not read."""
        if not self.parts:
            from kdrecipes.term_layers import Values, dtype_of

            self.parts.append(Values((), "ones", dtype=dtype_of(student.logits), name="ctkd_theta"))
        theta = self.parts[0].tensor
        theta = theta.detach() - self.strength * (theta - theta.detach())  # θ; its gradient is turned round
        temperature = self.tau_init + self.tau_range * theta.sigmoid()
        mine, theirs = (z / temperature for z in logits_of(student, teacher))
        value: torch.Tensor = divergence(theirs.log_softmax(-1), mine.log_softmax(-1)) * temperature**2
        return value
