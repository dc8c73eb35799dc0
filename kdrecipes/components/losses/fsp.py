"""`fsp`: how a network gets from one layer to the next (Yim et al. 2017)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.pairs import pairs_of, positions, to_smaller_map
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "fsp",
    summary="how a network gets from one layer to the next (flow of solution procedure)",
    paper='Yim et al., "A Gift from Knowledge Distillation", CVPR 2017, equations 1 and 2, with the mean over the '
    "elements of a Gram matrix instead of their sum, so that the value does not grow with the layers' widths",
    layers=pairs(2),
)
class FSP:
    """Σ over consecutive layers of mean((G_student − G_teacher)²), where G tells how two layers go together.

    Of layers a and b, G is aᵀ · b / positions, (channels of a, channels of b). Two layers of each network or more are
    named, in order: of a, b and c, a is taken with b and b with c. The larger of two consecutive maps is averaged to
    the size of the smaller. Sizes may differ between the networks; widths that differ need a projector. Features are
    maps (batch, height, width, channels), or tokens (batch, tokens, channels), equally many in consecutive layers.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    any_size = True  # a projector need not bring maps to one size

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        pairs = list(pairs_of(self, student, teacher))
        for pair in pairs:
            if pair.student.shape[-1] != pair.teacher.shape[-1]:
                raise ValueError(f'{pair.shapes()}: widths must be equal. `projector = "linear"` maps them.')
        flows = [
            (_flow(a.student, b.student) - _flow(a.teacher, b.teacher)).square().mean((1, 2))
            for a, b in pairwise(pairs)
        ]
        return sum(flows[1:], flows[0])


def _flow(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(batch, channels of a, channels of b), of two features of one network."""
    a, b = (positions(feature) for feature in to_smaller_map(a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"`fsp`: consecutive layers need equally many positions. Received: {a.shape[1]}, {b.shape[1]}")
    return a.mT @ b / a.shape[1]
