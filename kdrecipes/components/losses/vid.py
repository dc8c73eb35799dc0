"""`vid`: how well the student's features tell the teacher's, as a Gaussian's log-likelihood (Ahn et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.pairs import Pair, pairs_of, summed, to_smaller_map
from kdrecipes.components.losses.taken_layers import pairs

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-5  # below which no variance falls: that of the paper's published code


@term(
    "vid",
    summary="how well the student's features predict the teacher's, by regressions that learn (VID)",
    paper='Ahn et al., "Variational Information Distillation for Knowledge Transfer", arXiv:1904.05835, the '
    "Gaussian with a variance for each channel, and the mean over a feature's elements instead of their sum",
    layers=pairs(),
)
class VID:
    """Σ over the named pairs of layers of mean(½ · ((μ(student) − teacher)² / σ² + log σ²)), one value per example.

    μ is three 1×1 convolutions with ReLU between them, as wide as the teacher's layer, and σ² = softplus(a) + 1e-5 has
    one a for each of the teacher's channels. Both learn with the student and are no part of it. The larger of two maps
    is averaged to the size of the smaller. The value may be below 0.
    """

    initial_variance: float = option(5.0, "σ² of every channel as training begins.", exclusiveMinimum=_EPSILON)

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    parts: list[Any] = field(default_factory=list, init=False, repr=False)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        pairs = list(pairs_of(self, student, teacher))
        if not self.parts:
            self.parts.extend(part for pair in pairs for part in self._made_for(pair))
        return summed(map(_distance, pairs, self.parts[::2], self.parts[1::2]))

    def _made_for(self, pair: Pair) -> tuple[Any, Any]:
        """μ and a for a pair of layers."""
        from kdrecipes.backend import keras
        from kdrecipes.term_layers import Chain, Linear, Values, dtype_of

        width, dtype = pair.teacher.shape[-1], dtype_of(pair.student)
        maps = [Linear(width, dtype=dtype) for _ in range(3)]
        relus = [keras.layers.ReLU(dtype=dtype) for _ in range(2)]
        mean = Chain(maps[0], relus[0], maps[1], relus[1], maps[2], name="vid_mean")
        mean.build(tuple(pair.student.shape))
        above = self.initial_variance - _EPSILON
        a = above + math.log(-math.expm1(-above))  # the inverse of softplus
        return mean, Values((width,), keras.initializers.Constant(a), dtype=dtype, name="vid_variance")


def _distance(pair: Pair, mean: Any, variance: Any) -> torch.Tensor:
    from torch.nn.functional import softplus

    mine, theirs = to_smaller_map(pair.student, pair.teacher)
    predicted, spread = mean(mine), softplus(variance.tensor) + _EPSILON
    if predicted.shape != theirs.shape:
        raise ValueError(f"{pair.shapes()}: both must be maps, or both vectors.")
    value: torch.Tensor = 0.5 * ((predicted - theirs).square() / spread + spread.log())
    return value.flatten(1).mean(1)
