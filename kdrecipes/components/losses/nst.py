"""`nst`: which patterns over the positions a map's neurons show (Huang & Wang 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.pairs import Pair, pairs_of, same_positions, summed
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "nst",
    summary="which patterns over the positions neurons show (neuron selectivity)",
    paper='Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", arXiv:1707.01219, '
    "equations 4 and 7: the squared maximum mean discrepancy with the polynomial kernel of degree 2 and constant 0",
    layers=pairs(),
)
class NST:
    """Σ over pairs of layers of mean k(s, s′) + mean k(t, t′) − 2 · mean k(s, t), with k(a, b) = (a · b)².

    s and t are the student's and the teacher's channels, each a vector over the positions of unit length; the means are
    over all pairs of channels. So widths may differ. The larger of two maps is averaged to the size of the smaller. The
    usual weight is 50. Features are maps (batch, height, width, channels), or tokens (batch, tokens, channels), equally
    many in both networks.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        return summed(_discrepancy(pair) for pair in pairs_of(self, student, teacher))


def _discrepancy(pair: Pair) -> torch.Tensor:
    s, t = (_unit_channels(feature) for feature in same_positions(pair))
    if s.shape[1] <= max(s.shape[2], t.shape[2]):
        # The same number by a smaller product: the sum of (a · b)² over pairs is the inner product of A·Aᵀ and B·Bᵀ.
        return (s @ s.mT / s.shape[2] - t @ t.mT / t.shape[2]).square().sum((1, 2))
    return _kernel(s, s) + _kernel(t, t) - 2 * _kernel(s, t)


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(batch,): the mean of k over all pairs of channels."""
    return (a.mT @ b).square().mean((1, 2))


def _unit_channels(feature: torch.Tensor) -> torch.Tensor:
    """The feature (batch, positions, channels) with channels of unit length."""
    # Not `normalize`: its gradient at 0 is divided by 1e-12, and a channel of zeros is what ReLU often leaves.
    return feature / (feature.square().sum(1, keepdim=True) + 1e-12).sqrt()
