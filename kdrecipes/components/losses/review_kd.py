"""`review_kd`: each stage of the teacher is learnt from all deeper stages of the student too (Chen et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.pairs import Pair, pairs_of, summed
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_SIDES = (4, 2, 1)  # of a map's averages, in pixels


@term(
    "review_kd",
    summary="teacher's stages from the student's same and deeper ones, fused by attention (ReviewKD)",
    paper='Chen et al., "Distilling Knowledge via Knowledge Review", arXiv:2104.09044, ABF and HCL as the published '
    "code has them; the warm-up of its weight is a recipe's `schedule`",
    layers=pairs(),
)
class ReviewKD:
    """Σ over the named pairs of layers of HCL(ABF(student's layer and deeper ones), teacher's layer), one per example.

    Name the layers from the shallow to the deep. ABF goes from the last pair to the first: the student's layer, by a
    1×1 convolution to `channels` (or the last layer's width, if that is less), is fused with what the pair after it
    fused, enlarged to its size, by two attention maps; a 3×3 convolution makes the teacher's width of it. All but the
    attention have batch normalisation. They learn with the student and are no part of it.

    HCL is the mean squared distance of two maps, and of their averages at those of 4, 2 and 1 pixels a side that are
    smaller than the map. The map weighs 1 and each next average half as much as what is before it, so a map of 4
    pixels a side has 1, 1/2 and 1/4, for itself, 2 and 1. The sum is divided by that of the weights, as in the
    published code. The paper takes the teacher's layers before their last ReLU. Vectors count as maps of one pixel.
    """

    channels: int = option(512, "The most channels in which layers are fused.", minimum=1)

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    parts: list[Any] = field(default_factory=list, init=False, repr=False)

    relational = True  # by the batch normalisation

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        pairs = [
            pair._replace(student=_map(pair.student), teacher=_map(pair.teacher))
            for pair in pairs_of(self, student, teacher)
        ]
        pairs.reverse()
        if not self.parts:
            self.parts.extend(_made_for(pairs, min(self.channels, pairs[0].student.shape[-1])))
        return summed(_distance(mine, theirs) for mine, theirs in _fused(pairs, self.parts))


def _fused(pairs: list[Pair], parts: list[Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """ABF: what the teacher's map is compared with, and that map, from the deepest pair to the first."""
    import torch

    layers, deeper = iter(parts), None
    for pair in pairs:
        own = next(layers)(pair.student)
        if deeper is not None:
            deeper = _enlarged(deeper, own.shape[1:3])
            attention = next(layers)(torch.cat([own, deeper], -1)).sigmoid()
            own = own * attention[..., :1] + deeper * attention[..., 1:]
        deeper = _enlarged(own, pair.teacher.shape[1:3])
        yield next(layers)(deeper), pair.teacher


def _made_for(pairs: list[Pair], channels: int) -> Iterator[Any]:
    """The layers that `_fused` takes, in its order."""
    from kdrecipes.backend import keras
    from kdrecipes.term_layers import Chain, Linear, Normalization, dtype_of

    dtype = dtype_of(pairs[0].student)
    for number, pair in enumerate(pairs):
        narrow = Chain(Linear(channels, dtype=dtype), Normalization(dtype=dtype), name="review_narrow")
        narrow.build(tuple(pair.student.shape))
        yield narrow
        if number:
            attention = Linear(2, use_bias=True, dtype=dtype, name="review_attention")
            attention.build((None, 2 * channels))
            yield attention
        conv = keras.layers.Conv2D(pair.teacher.shape[-1], 3, padding="same", use_bias=False, dtype=dtype)
        widen = Chain(conv, Normalization(dtype=dtype), name="review_widen")
        widen.build((*pair.teacher.shape[:3], channels))
        yield widen


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """HCL of two maps (batch, height, width, channels), a value for each example."""
    from torch.nn.functional import adaptive_avg_pool2d

    a, b = a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2)
    value, weight, weights = (a - b).square().flatten(1).mean(1), 1.0, 1.0
    for side in _SIDES:
        if side < min(a.shape[2:]):
            weight /= 2  # of the averages that are taken: one that is left out halves nothing
            x, y = adaptive_avg_pool2d(a, side), adaptive_avg_pool2d(b, side)
            value, weights = value + weight * (x - y).square().flatten(1).mean(1), weights + weight
    return value / weights


def _map(feature: torch.Tensor) -> torch.Tensor:
    if feature.ndim not in (2, 4):
        raise ValueError(f"`review_kd` reads maps and vectors. Received: a layer that gives {tuple(feature.shape)}")
    return feature if feature.ndim == 4 else feature[:, None, None]


def _enlarged(x: torch.Tensor, size: Any) -> torch.Tensor:
    """A map at another size, each pixel the nearest one's."""
    from torch.nn.functional import interpolate

    if x.shape[1:3] == size:
        return x
    nearest: torch.Tensor = interpolate(x.permute(0, 3, 1, 2), tuple(size), mode="nearest").permute(0, 2, 3, 1)
    return nearest
