"""`attention`: where in an image the activations are strong (Zagoruyko & Komodakis 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.pairs import Pair, pairs_of, same_positions, summed
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "attention",
    summary="where in the image the activations are strong (attention transfer)",
    paper='Zagoruyko & Komodakis, "Paying More Attention to Attention", arXiv:1612.03928, equation 2, with the mean '
    "over positions instead of half their sum, as in its published code",
    layers=pairs(),
)
class Attention:
    """Σ over pairs of layers of mean((q_student − q_teacher)²), where q is a map's attention at unit length.

    A map's attention at a position is the mean of the channels' squares there; q is that as a vector over positions,
    divided by its Euclidean norm. So widths may differ. The larger of two maps is averaged to the size of the smaller.
    The paper's weight is about 1000. Features are maps (batch, height, width, channels), or tokens (batch, tokens,
    channels), equally many in both networks.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        return summed(_distance(pair) for pair in pairs_of(self, student, teacher))


def _distance(pair: Pair) -> torch.Tensor:
    mine, theirs = (_attention(feature) for feature in same_positions(pair))
    return (mine - theirs).square().mean(1)


def _attention(feature: torch.Tensor) -> torch.Tensor:
    """(batch, positions), of unit length, of a feature (batch, positions, channels)."""
    from torch.nn.functional import normalize

    return normalize(feature.square().mean(2), dim=1)
