"""`simkd`: the student learns to feed the teacher's own classifier, which becomes part of it (Chen et al. 2022)."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses.declared import option, term
from kdrecipes.components.losses.pairs import pairs_of, vectors
from kdrecipes.components.losses.taken_layers import ONE_OR_NONE, take_layers
from kdrecipes.term_places import about

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs

FEATURES = "simkd_features"  # the layer of the student that the teacher's classifier reads


@term(
    "simkd",
    summary="features for the teacher's own classifier, which the student keeps (SimKD)",
    paper='Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", arXiv:2203.14001, L_SimKD, '
    "with the mean over the features instead of their sum",
    layers=ONE_OR_NONE,
)
class SimKD:
    """mean((student's projected features − teacher's features)²), one value per example.

    The model that is trained and saved is another one than the student that was handed in, which keeps the classifier
    that it had: in a script it is `distiller.student`. It is the student without its classifier, a projector to the
    teacher's width (1×1, 3×3 and 1×1 convolution, each with batch normalisation and ReLU, and the mean over the map),
    and a copy of the teacher's classifier, which does not learn. The paper trains on this term alone: `label_weight` 0.

    Where no layers are named, the features are what stands before each classifier, of the student as the map whose mean
    it reads, where it is one.
    """

    reduction: int = option(2, "How many times narrower than the teacher the projector is inside, r.", minimum=1)

    network = "the student with a projector and the teacher's classifier in place of its own"

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    projected: tuple[str, ...] = field(default=(), init=False, repr=False)  # the student's layer that was named

    def meet(self, student: Any, teacher: Any) -> Any:
        """The model that is trained in the student's place."""
        from kdrecipes.backend import keras
        from kdrecipes.classifiers import classifier_of, layer_at, spot_named

        theirs, own = classifier_of(teacher, "teacher"), classifier_of(student, "student")
        if not self.teacher_layers:
            self.teacher_layers = (layer_at(theirs.reads, "teacher", "teacher_layers"),)
        if self.student_layers and tuple(self.student_layers) != (FEATURES,):
            take_layers(self)
            self.projected = self.student_layers
        self.student_layers = (FEATURES,)
        take_layers(self)
        with about(key="student_layers"):
            reads = spot_named(student, self.projected[0], "student") if self.projected else own.reads.before_pooling()
        kernel, bias = theirs.weights()
        if (classes := student.output_shape[-1]) != len(bias):
            raise ValueError(f"`simkd`: the teacher gives {len(bias)} logits, and the student {classes}.")
        inputs, x = reads.cut()
        dtype = student.dtype_policy
        x = _projected(x, kernel.shape[0], max(kernel.shape[0] // self.reduction, 1), dtype)
        head = keras.layers.Dense(len(bias), trainable=False, dtype=dtype, name="simkd_classifier")
        made = keras.Model(inputs, head(x), name=student.name)
        head.kernel.assign(kernel)
        head.bias.assign(bias)
        return made

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        if tuple(self.student_layers) != (FEATURES,) or FEATURES not in student.features:
            raise ValueError("`simkd` trains a model of its own: it works inside a Distiller, which asks it for that.")
        (pair,) = pairs_of(self, student, teacher)
        return (vectors(pair.student) - vectors(pair.teacher)).square().mean(1)


def _projected(x: Any, width: int, narrow: int, dtype: Any) -> Any:
    """The projector's output (batch, width) for symbolic features (batch, …, channels)."""
    from kdrecipes.backend import keras

    layers = keras.layers
    if len(x.shape) == 3:
        x = layers.GlobalAveragePooling1D(dtype=dtype, name="simkd_mean")(x)
    if len(x.shape) == 2:
        x = layers.Reshape((1, 1, x.shape[-1]), dtype=dtype, name="simkd_map")(x)
    for number, (channels, side) in enumerate(((narrow, 1), (narrow, 3), (width, 1)), start=1):
        name = f"simkd_{number}"
        conv = layers.Conv2D(channels, side, padding="same", use_bias=False, dtype=dtype, name=f"{name}_conv")
        x = layers.BatchNormalization(momentum=0.9, dtype=dtype, name=f"{name}_bn")(conv(x))
        x = layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)
    return layers.GlobalAveragePooling2D(dtype=dtype, name=FEATURES)(x)
