"""`rkd`: the distances and angles between the images of a batch (Park et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.pairs import Pair, pairs_of, summed, vectors
from kdrecipes.components.losses.several import refuse_one_image
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

# Numbers held at once for angles. A batch of 64 with 512 channels needs 2 million, one of 256 needs 34 million.
_AT_ONCE = 8_000_000
_SMALLEST = 1e-12  # of a squared distance: a gradient is divided by its root


@term(
    "rkd",
    summary="distances and angles between the images of a batch",
    paper='Park et al., "Relational Knowledge Distillation", arXiv:1904.05068, equations 5 to 10, on features that are '
    "not scaled to unit length",
    layers=pairs(),
)
class RKD:
    """Σ over pairs of layers of distance · D + angle · A, how differently two networks place the images of a batch.

    D is the Huber distance of the images' distances, each network's divided by their mean. A is that of the cosines of
    the angles of all triples of images. Both are means over all pairs and triples, those of an image with itself too.
    Maps are averaged over their positions first, so widths and sizes may differ. The paper takes 25 · D + 50 · A for
    classification: that is `weight = 25` with the defaults.

    A batch of B images has B³ angles. They are computed for a few corners at a time, 8 million numbers or one corner's
    B · max(B, channels), and where that takes several turns each is computed again for the gradient instead of kept.
    The value is the same.

    It is a scalar: what it says of an image depends on the batch. One image alone raises a ValueError.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    distance: float = option(default=1.0, description="Weight of the distances between two images.", minimum=0)
    angle: float = option(default=2.0, description="Weight of the angles between three images.", minimum=0)

    relational = True

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """A scalar; `labels` are not read."""
        return summed(self._difference(pair) for pair in pairs_of(self, student, teacher))

    def _difference(self, pair: Pair) -> torch.Tensor:
        refuse_one_image("rkd", pair.student)
        mine, theirs = vectors(pair.student), vectors(pair.teacher)
        total = 0 * mine.sum()  # a gradient of 0 where both weights are 0
        if self.distance:
            total = total + self.distance * _huber(_distances(mine), _distances(theirs)).mean()
        if self.angle:
            total = total + self.angle * _angles_apart(mine, theirs)
        return total


def _huber(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import smooth_l1_loss

    return smooth_l1_loss(a, b, reduction="none")


def _distances(rows: torch.Tensor) -> torch.Tensor:
    """(batch, batch): distances of the rows, divided by the mean distance of two different ones."""
    import torch

    # Differences, not products: of images that are nearly alike a product keeps no digit.
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    mean = apart.sum() / (len(rows) * (len(rows) - 1))
    return apart / mean.clamp_min(_SMALLEST**0.5)


def _angles_apart(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The mean Huber distance of two networks' cosines of all angles, a scalar."""
    from torch.utils.checkpoint import checkpoint

    images = len(mine)
    corners = max(1, _AT_ONCE // (images * max(images, mine.shape[1], theirs.shape[1])))
    if corners >= images:
        return _at_corners(mine, theirs, 0, images) / images**3
    total = mine.new_zeros(())
    for first in range(0, images, corners):
        total = total + checkpoint(_at_corners, mine, theirs, first, first + corners, use_reentrant=False)
    return total / images**3


def _at_corners(mine: torch.Tensor, theirs: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """The sum over the angles whose corners are the images from `first` to before `last`."""
    return _huber(_cosines(mine, first, last), _cosines(theirs, first, last)).sum()


def _cosines(rows: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """(corners, batch, batch): the cosine of the angle from one image over a corner to another; 0 where two are one."""
    sides = rows[None] - rows[first:last, None]
    sides = sides / (sides.square().sum(2, keepdim=True) + _SMALLEST).sqrt()
    return sides @ sides.mT
