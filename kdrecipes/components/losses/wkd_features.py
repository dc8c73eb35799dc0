"""`wkd_features`: the Wasserstein distance of the channels' means and deviations (Lv et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.pairs import Pair, pairs_of, positions, summed
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-5  # added to variances, as in its published code


@term(
    "wkd_features",
    summary="Wasserstein distance of the channels' means and deviations",
    paper='Lv, Yang & Li, "Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation", '
    "arXiv:2412.08139, WKD-F with diagonal covariances",
    layers=pairs(),
)
class WKDFeatures:
    """Σ over pairs of layers of γ · ‖mean_student − mean_teacher‖² + ‖std_student − std_teacher‖².

    Means and standard deviations are those of each channel over the positions of an image, the vectors' norms go over
    the channels. Sizes may differ; widths that differ need a projector, and `projector = "conv"` is the paper's. Its
    published weight on ImageNet is 0.02, with the last map of each network. Features are maps (batch, height, width,
    channels), or tokens (batch, tokens, channels).
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    gamma: float = option(default=2.0, description="Weight γ of the means against the deviations.", minimum=0)

    any_size = True  # a projector need not bring maps to one size

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        return summed(_distance(pair, self.gamma) for pair in pairs_of(self, student, teacher))


def _distance(pair: Pair, gamma: float) -> torch.Tensor:
    if pair.student.shape[-1] != pair.teacher.shape[-1]:
        raise ValueError(f'{pair.shapes()}: widths must be equal. `projector = "conv"` maps them.')
    (my_mean, my_std), (their_mean, their_std) = _moments(pair.student), _moments(pair.teacher)
    return gamma * (my_mean - their_mean).square().sum(1) + (my_std - their_std).square().sum(1)


def _moments(feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The means and the standard deviations, both (batch, channels), of each channel over the positions."""
    x = positions(feature)
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).square().sum(1) / max(x.shape[1] - 1, 1)
    return mean[:, 0], (variance + _EPSILON).sqrt()
