"""`srrl`: the student's features must mean the same to the teacher's classifier (Yang et al. 2021)."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.pairs import pairs_of, vectors
from kdrecipes.components.losses.taken_layers import ONE_OR_NONE, take_layers

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "srrl",
    summary="features that the teacher's classifier reads as the teacher's own (SRRL)",
    paper='Yang et al., "Knowledge Distillation via Softmax Regression Representation Learning", ICLR 2021, L_FM and '
    "L_SR, the latter as the squared distance of logits; the weights are those of the published code on CIFAR-100",
    layers=ONE_OR_NONE,
)
class SRRL:
    """alpha · mean((h − f)²) + beta · mean((classifier(h) − teacher's logits)²), one value per example.

    f are the features that the teacher's classifier reads. h are the student's features after a 1×1 convolution to
    the teacher's width, batch normalisation, ReLU and the mean over the map; these learn with the student and are no
    part of it. The classifier is the teacher's, and does not learn.

    Where no layers are named, f is what stands before the teacher's classifier, and the student's features are the map
    whose mean its own classifier reads, or else what that reads.
    """

    alpha: float = option(1.0, "Weight of the distance of features.", minimum=0)
    beta: float = option(5.0, "Weight of the distance of logits.", minimum=0)

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    parts: list[Any] = field(default_factory=list, init=False, repr=False)
    classifier: Any = field(default=None, init=False, repr=False)

    relational = True  # by the batch normalisation

    def meet(self, student: Any, teacher: Any) -> None:
        """Find the teacher's classifier, and the layers where none are named."""
        from kdrecipes.classifiers import classifier_of, layer_at

        self.classifier = classifier_of(teacher, "teacher")
        if not self.teacher_layers:
            self.teacher_layers = (layer_at(self.classifier.reads, "teacher", "teacher_layers"),)
        if not self.student_layers:
            reads = classifier_of(student, "student").reads.before_pooling()
            self.student_layers = (layer_at(reads, "student", "student_layers"),)
        take_layers(self)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        if self.classifier is None:
            raise ValueError("`srrl` needs the teacher's classifier: it works inside a Distiller, which shows it.")
        (pair,) = pairs_of(self, student, teacher)
        theirs = vectors(pair.teacher)
        if not self.parts:
            self.parts.append(_connector(pair.student, theirs.shape[-1]))
        mine = vectors(self.parts[0](pair.student))
        logits: torch.Tensor = self.classifier.logits(mine) - teacher.logits.detach()
        return self.alpha * (mine - theirs).square().mean(1) + self.beta * logits.square().mean(1)


def _connector(feature: torch.Tensor, width: int) -> Any:
    """1×1 convolution, batch normalisation and ReLU, for the student's features."""
    from kdrecipes.backend import keras
    from kdrecipes.term_layers import Chain, Linear, Normalization, dtype_of

    dtype = dtype_of(feature)
    made = Chain(
        Linear(width, dtype=dtype), Normalization(dtype=dtype), keras.layers.ReLU(dtype=dtype), name="srrl_connector"
    )
    made.build(tuple(feature.shape))
    return made
