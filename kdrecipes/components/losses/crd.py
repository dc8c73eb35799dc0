"""`crd`: an image's features are told from those of thousands of others, kept in a memory (Tian et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.labels import classes_of
from kdrecipes.components.losses.pairs import pairs_of, vectors
from kdrecipes.components.losses.taken_layers import ONE_PAIR_OR_NONE, take_layers

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

_EPSILON = 1e-7  # the published code's, beside the noise's density
_SHORTEST = 1e-3  # a mapped vector that is brought to length 1; a shorter one is divided by this


@term(
    "crd",
    summary="contrast of an image's features with those of others, kept in a memory (CRD)",
    paper='Tian et al., "Contrastive Representation Distillation", arXiv:1910.10699, by noise-contrastive estimation '
    "as in the published code; negatives of the image's own class are left out of the mean, not drawn anew",
    layers=ONE_PAIR_OR_NONE,
)
class CRD:
    """−(log h(own) + K · mean over K negatives of log(1 − h(negative))), for both networks, one value per example.

    The features of a layer are pooled, mapped linearly to `dimensions` and brought to length 1; what is shorter than
    0.001 stays shorter than 1, and zeros, which have no direction, stay zeros without a gradient. h(m) = P / (P + K/n)
    with P = exp(v · m / temperature) / Z compares a vector v of one network with a vector m that the memory holds of
    the other: of the same image, or of one drawn from all n training images. Z is n times the mean of
    exp(v · m / temperature) in the first batch. After each batch the memory's vectors of its images become
    `momentum` · old + (1 − momentum) · new, at length 1. Negatives of the image's class, as far as the memory has met
    them, do not count.

    Where no layers are named, they are those before the classifiers. The maps, the memories and the generator of the
    draws are kept with the student's state, and are no part of it: 8 · `dimensions` bytes an image. Each image must
    bring its `index`, its place in the training data; a run gives it. The value depends on the draws and on earlier
    batches. A mixed label counts as the class of its largest share, and where a label is missing the teacher's most
    probable class stands in.
    """

    examples: int = option(description="Training images, n.", minimum=2)
    negatives: int = option(16384, "Draws for each image, K; at most n - 1.", minimum=1)
    temperature: float = option(0.07, "Divides products of vectors, τ.", exclusiveMinimum=0, maximum=1000)
    momentum: float = option(0.5, "Share of the old vector in the memory.", minimum=0, exclusiveMaximum=1)
    dimensions: int = option(128, "Width of the vectors.", minimum=1)

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    parts: list[Any] = field(default_factory=list, init=False, repr=False)

    relational = True  # by the draws and the memory

    def meet(self, student: Any, teacher: Any) -> None:
        """Find the layers where none are named."""
        if not self.student_layers and not self.teacher_layers:
            from kdrecipes.classifiers import classifier_of, layer_at

            self.student_layers, self.teacher_layers = (
                (layer_at(classifier_of(model, role).reads.before_pooling(), role, f"{role}_layers"),)
                for model, role in ((student, "student"), (teacher, "teacher"))
            )
        take_layers(self)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels`: int64 (batch,) or mixed."""
        import torch

        (pair,) = pairs_of(self, student, teacher)
        if (index := student.index) is None:
            raise ValueError(
                "`crd` needs each image's index, its place in the training data: give x as "
                '{"image": images, "index": numbers}.'
            )
        features = [vectors(pair.student), vectors(pair.teacher)]
        if not self.parts:
            self.parts.extend(_made_for(features, self.examples, self.dimensions))
        *maps, bank_s, bank_t, classes, constants, draws = self.parts
        banks = [bank_s.tensor, bank_t.tensor]
        new = [_direction(one(x)) for one, x in zip(maps, features, strict=True)]
        own = classes_of(labels, teacher.logits)
        chosen = draws.integers((len(index), min(self.negatives, self.examples - 1)), self.examples)
        counts = (classes.tensor[chosen] != own[:, None]) & (chosen != index[:, None])
        total, fresh = [], []
        for v, bank, known in zip(new, reversed(banks), constants.tensor[1:], strict=True):
            # A copy, for the memory changes before the gradient is taken. All products at once cost less than to
            # gather (batch, K, dimensions) vectors first.
            scaled = v / self.temperature
            positive = (scaled * bank[index]).sum(1, keepdim=True)
            negative = (scaled @ bank.clone().T).gather(1, chosen)
            fresh.append(_log_mean(positive.detach(), negative.detach(), counts) + math.log(self.examples))
            log_z = known.where(constants.tensor[0] > 0, fresh[-1])
            total.append(_contrast(positive[:, 0] - log_z, negative - log_z, counts, chosen.shape[1] / self.examples))
        if torch.is_grad_enabled():  # else the networks were only shown to the term
            with torch.no_grad():
                for bank, v in zip(banks, new, strict=True):
                    mixed = self.momentum * bank[index] + (1 - self.momentum) * v
                    bank[index] = torch.nn.functional.normalize(mixed, dim=1)
                classes.tensor[index] = own
                first = torch.stack([torch.ones_like(fresh[0]), *fresh])
                constants.values.assign(constants.tensor.where(constants.tensor[0] > 0, first))
        return total[0] + total[1]


def _direction(v: torch.Tensor) -> torch.Tensor:
    """The rows of a matrix at length 1; rows that are too short for that stay shorter, and zeros stay zeros."""
    # Not `normalize`: its gradient at 0 is divided by 1e-12. A map begins without a bias, so that an image whose
    # features are all zero has no direction yet.
    length = v.norm(dim=1, keepdim=True)
    brought: torch.Tensor = (v / length.clamp(min=_SHORTEST)).where(length > 0, 0.0)
    return brought


def _contrast(positive: torch.Tensor, negative: torch.Tensor, counts: torch.Tensor, noise: float) -> torch.Tensor:
    """The loss of noise-contrastive estimation, (batch,).

    Args:
        positive: (batch,), and `negative`: (batch, K), the logarithms of P.
        counts: bool (batch, K), which negatives count.
        noise: K / n, K times the density of the draws.
    """
    from torch.nn.functional import logsigmoid

    shift = math.log(noise + _EPSILON)
    refused = logsigmoid(shift - negative) + math.log(noise) - shift
    mean = (refused * counts).sum(1) / counts.sum(1).clamp(min=1)
    value: torch.Tensor = -logsigmoid(positive - shift) - negative.shape[1] * mean
    return value


def _log_mean(positive: torch.Tensor, negative: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The logarithm of the mean of exp over all that counts, a scalar."""
    import torch

    kept = torch.cat([positive, negative.masked_fill(~counts, -math.inf)], 1)
    return kept.logsumexp((0, 1)) - (counts.sum() + len(positive)).to(kept.dtype).log()


def _made_for(features: list[torch.Tensor], examples: int, dimensions: int) -> list[Any]:
    """The two maps, the two memories, the classes met (-1: none), [1 once Z is there, log Z of both], the draws."""
    from kdrecipes.backend import keras
    from kdrecipes.term_layers import Draws, Linear, Values, dtype_of

    dtype = dtype_of(features[0])
    maps = [Linear(dimensions, use_bias=True, dtype=dtype, name="crd_map") for _ in features]
    for one, feature in zip(maps, features, strict=True):
        one.build(tuple(feature.shape))
    bound = math.sqrt(3 / dimensions)  # so that a vector's length is 1 on average
    even = [keras.initializers.RandomUniform(-bound, bound) for _ in features]
    kept: dict[str, Any] = {"trainable": False}
    return [
        *maps,
        *(Values((examples, dimensions), one, dtype=dtype, name="crd_memory", **kept) for one in even),
        Values((examples,), keras.initializers.Constant(-1), dtype="int64", name="crd_classes", **kept),
        Values((3,), dtype=dtype, name="crd_constants", **kept),
        Draws(name="crd_draws"),
    ]
