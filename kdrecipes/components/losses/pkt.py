"""`pkt`: how likely each image finds another alike, as probabilities (Passalis & Tefas 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.pairs import Pair, pairs_of, summed, vectors
from kdrecipes.components.losses.several import refuse_one_image
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-7  # as in its published code


@term(
    "pkt",
    summary="how likely each image finds another one alike, as probabilities",
    paper='Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", arXiv:1803.10837, '
    "equations 3 to 6, with the cosine kernel and the mean over all pairs of images, as in its published code",
    layers=pairs(),
)
class PKT:
    """Σ over pairs of layers of mean(P_teacher · log(P_teacher / P_student)), over all pairs of images.

    Row i of P holds (1 + cos(f_i, f_j)) / 2 over the images j of the batch, divided by the row's sum. Maps are averaged
    over their positions first, so widths and sizes may differ. The paper's weight is 30000, on the last layer before
    the classes. It is a scalar: what it says of an image depends on the batch. One image alone raises a ValueError.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    relational = True

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """A scalar; `labels` are not read."""
        return summed(_divergence(pair) for pair in pairs_of(self, student, teacher))


def _divergence(pair: Pair) -> torch.Tensor:
    refuse_one_image("pkt", pair.student)
    q, p = _probabilities(pair.student), _probabilities(pair.teacher)
    return (p * ((p + _EPSILON).log() - (q + _EPSILON).log())).mean()


def _probabilities(feature: torch.Tensor) -> torch.Tensor:
    """(batch, batch), rows that sum to 1."""
    rows = vectors(feature)
    rows = rows / (rows.norm(dim=1, keepdim=True) + _EPSILON)
    alike: torch.Tensor = (1 + rows @ rows.T) / 2
    return alike / alike.sum(1, keepdim=True)
