"""`ofa`: every stage of the student has logits of its own, and all hear the teacher's (Hao et al. 2023)."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, temperature, term
from kdrecipes.components.losses.ofa_logit import OFALogit
from kdrecipes.components.losses.pairs import at_least_float32, summed, vectors
from kdrecipes.components.losses.taken_layers import STUDENT, take_layers

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

SMALL = 4  # pixels: a map as small is averaged
WIDEST = 512  # channels of a head, where the layer itself has no more


@term(
    "ofa",
    summary="stages of the student get logits of their own, which learn from the teacher's, across families (OFA-KD)",
    paper='Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation", '
    "arXiv:2310.19444, the whole of OFA-KD with its weights of 1; the heads' sizes are our own reading",
    layers=STUDENT,
)
class OFA:
    """ofa_logit(student's logits) + Σ over the named layers of ofa_logit(head(layer)), one value per example.

    `student_layers` names the stages; the teacher's layers are not read. A head halves a map by separable 3×3
    convolutions, each twice as wide (at most 512 channels) with batch normalisation and ReLU, until its shorter side
    is 4 pixels or less; then comes the mean and a linear map to the classes. Heads learn with the student and are no
    part of it.

    Labels are read as by `ofa_logit`, which has the formula: a mixed label counts as the class of its largest share,
    and where a label is missing the teacher's most probable class stands in.
    """

    epsilon: float = option(1.0, "Power ε that enhances the label's class.", exclusiveMinimum=0, maximum=100)
    temperature: float = temperature(1.0)

    student_layers: tuple[str, ...] = ()
    parts: list[Any] = field(default_factory=list, init=False, repr=False)

    relational = True  # by the batch normalisation

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels`: int64 (batch,) or mixed."""
        take_layers(self)
        features = [at_least_float32(student.features[name]) for name in self.student_layers]
        if not self.parts:
            self.parts.extend(part for one in features for part in _head(one, student.logits.shape[-1]))
        heads = zip(features, self.parts[::2], self.parts[1::2], strict=True)
        logits = [student.logits, *(linear(vectors(trunk(one))) for one, trunk, linear in heads)]
        formula = OFALogit(self.epsilon, self.temperature)
        return summed(formula(labels, replace(student, logits=one), teacher) for one in logits)


def _head(feature: torch.Tensor, classes: int) -> tuple[Any, Any]:
    """What makes a layer's features small, and what makes logits of their mean."""
    from kdrecipes.backend import keras
    from kdrecipes.term_layers import Chain, Linear, Normalization, dtype_of

    layers, dtype, width = keras.layers, dtype_of(feature), feature.shape[-1]
    side = min(feature.shape[1:3]) if feature.ndim == 4 else 1
    links = [layers.Identity(dtype=dtype)]
    while side > SMALL:
        side, width = -(-side // 2), max(min(2 * width, WIDEST), width)
        halving = layers.SeparableConv2D(width, 3, 2, "same", use_bias=False, dtype=dtype)
        links += [halving, Normalization(dtype=dtype), layers.ReLU(dtype=dtype)]
    trunk, linear = Chain(*links, name="ofa_trunk"), Linear(classes, use_bias=True, dtype=dtype, name="ofa_logits")
    trunk.build(tuple(feature.shape))
    linear.build((None, width))
    return trunk, linear
