"""`similarity_preserving`: which images of a batch the activations find alike (Tung & Mori 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term
from kdrecipes.components.losses.pairs import Pair, pairs_of, summed
from kdrecipes.components.losses.several import refuse_one_image
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "similarity_preserving",
    summary="which images of a batch the activations find alike",
    paper='Tung & Mori, "Similarity-Preserving Knowledge Distillation", arXiv:1907.09682, equations 1 to 4',
    layers=pairs(),
)
class SimilarityPreserving:
    """Σ over pairs of layers of ‖G_student − G_teacher‖² / batch², where G holds the similarities of images.

    G is F · Fᵀ, each row divided by its Euclidean norm, and F holds each image's feature as one row. So features of any
    shape are compared, and widths and sizes may differ. The paper's weight is 3000, with the last stage of each
    network. It is a scalar: what it says of an image depends on the batch. One image alone raises a ValueError.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    relational = True
    any_size = True  # a projector need not bring maps to one size

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """A scalar; `labels` are not read."""
        return summed(_distance(pair) for pair in pairs_of(self, student, teacher))


def _distance(pair: Pair) -> torch.Tensor:
    refuse_one_image("similarity_preserving", pair.student)
    return (_similarities(pair.student) - _similarities(pair.teacher)).square().mean()


def _similarities(feature: torch.Tensor) -> torch.Tensor:
    """(batch, batch), each row of unit length."""
    from torch.nn.functional import normalize

    rows = feature.flatten(1)
    return normalize(rows @ rows.T, dim=1)
