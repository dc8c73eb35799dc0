"""`Distiller`: a `keras.Model` that trains a student on labels and distillation terms with the ordinary `fit` loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from kdrecipes.backend import keras
from kdrecipes.fast.accelerate import accelerate_unless_changed
from kdrecipes.fast.compiled import compiled
from kdrecipes.keras_private import compiled_metrics, loss_tracker, set_loss_tracker
from kdrecipes.training.arguments import (
    Network,
    Term,
    networks_of,
    refuse_to_compile,
    terms_and_weights,
    unnamed_networks,
)
from kdrecipes.training.batches import (
    images_of,
    index_of,
    known,
    labelled_alone,
    labels_of,
    mean_over_labelled,
    weights_of,
)
from kdrecipes.training.checkpoint import SavedAsStudent
from kdrecipes.training.class_counts import classes_of, refuse_labels_of_fit, refuse_other_widths
from kdrecipes.training.finite import FiniteWatch, StepFacts
from kdrecipes.training.inference import wide
from kdrecipes.training.introduced import introduced
from kdrecipes.training.last_activation import refuse_probabilities
from kdrecipes.training.learner import Learner, cross_entropy, names_of
from kdrecipes.training.loss_parts import LossParts, Weight
from kdrecipes.training.metrics import RunningMean, know_what_no_label_is
from kdrecipes.training.parts import Parts
from kdrecipes.training.pixels import refuse_other_pixels
from kdrecipes.training.teacher_cache import refuse_uncacheable, with_teacher_logits
from kdrecipes.training.teachers import Teachers
from kdrecipes.training.term_progress import told


class Distiller(SavedAsStudent):
    """Trains `student` on `label_weight · cross-entropy + Σ weight · term`, means over examples.

    `compile`, `fit`, `evaluate`, `predict`, callbacks and any data Keras takes work as for every model; `compile` gets
    an optimiser and metrics, the loss is given here. `evaluate` and validation run the student on labels only: `loss`
    there is the cross-entropy and the teacher is not called. `distiller.student` is an ordinary model. `save`, `export`
    and Keras' own functions write it alone, and `keras.saving.load_model` opens the file. `save_weights` writes what
    trains, terms included, for `load_weights` of a distiller made alike.

    A label of -1 is none: such an image is taught by the terms alone, and the cross-entropy and the metrics are means
    over the others of a batch. Where labels are rows of shares, a row of zeros is none.

    The teacher runs in inference mode under `torch.no_grad()`. It is not tracked: it is in no checkpoint, no optimiser
    sees it, and neither its weights nor its `trainable` flag change.

    Several teachers are heard as one by every term that does not name one: a term with the attribute `teacher`, a text,
    hears the one of that name. A term on features must name one where there are several.

    Args:
        student: a `keras.Model` from images (batch, height, width, channels) to logits (batch, classes).
        teacher: the same for the teacher, or a `torch.nn.Module`; where its fixed input size differs from the images',
            they are resized for it (antialiased bilinear). None is allowed when no term reads it. `{name: teacher}`
            gives it the name under which batches bring its logits and images along, and may hold several.
        loss: one distillation term or a list of them. A term is a callable `term(labels, student, teacher)` that
            returns (batch,) values, or a scalar where it is no mean over examples; `labels` is int64 (batch,) or
            float (batch, classes), `student` and `teacher` are `Outputs`. See `KD`. A term that is a Keras layer, and
            the layers that a term's first call puts into its list `parts`, train with the student. A term's method
            `meet(student, teacher)` is called once with the networks; a model that it gives is trained, and saved, in
            the student's place.
        weight: a term's, or a list as long as `loss`: numbers, or functions of the share of the fit done. Default 1.0.
        teacher_weights: how much each of several teachers counts, above 0, by its name; only proportions matter.
            Default: 1.0 of each.
        teachers: how several are heard together: "probabilities", as the logarithm of the weighted mean of their
            probabilities at T = 1, or "logits", as the weighted mean of their logits. Default "probabilities".
        label_weight: weight of the cross-entropy with the labels. Default 1.0.
        label_smoothing: share of each label spread over all classes while training. Default 0.0.
        precision: what the student computes in while it trains: "float32", or by `torch.autocast` "bfloat16" or
            "float16" (then give `compile` a `keras.optimizers.LossScaleOptimizer`). Its weights, its gradients, losses
            and validation stay float32. Default "float32".
        accelerate: let torch's own kernels compute the networks, see `kdrecipes.accelerate`. Default True.
        cache_teacher: ask each teacher once for each image, as `fit` begins, and keep its logits in memory as float32,
            4 bytes for each image and class. Every `fit` asks anew. The images are an array or a tensor; the teacher
            hears them as they are there, and so it does without a cache: layers of the student that augment are the
            student's alone. Default False.

    Raises:
        ValueError: when weights and terms do not pair up, there is a teacher and no term to hear it, a network ends in
            a softmax or a sigmoid, the student has one output or another number than a teacher whose logits it is
            compared with, a term names a layer that its network lacks or a teacher that is not there, or reads features
            and names none of several teachers, or there are no logits to keep.
        TypeError: for an argument without a name.

    Example:
        ```python
        distiller = Distiller(teacher=teacher, student=student, loss=KD(temperature=4.0), weight=0.9, label_weight=0.1)
        distiller.compile(optimizer="adam", metrics=["accuracy"])
        distiller.fit(images, labels, epochs=5)
        ```
    """

    finite: FiniteWatch | None = None  # hears of each step of a run's fit before the step changes a weight

    def __new__(cls, *unnamed: Any, **named: Any) -> Distiller:
        """Refuse networks that are not named: nobody shall swap teacher and student."""
        if unnamed:
            raise TypeError(unnamed_networks(unnamed, named))
        return cast("Distiller", super().__new__(cls, **named))

    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: Network | Mapping[str, Network] | None = None,
        loss: Term | Sequence[Term] = (),
        weight: Weight | Sequence[Weight] = 1.0,
        teacher_weights: Mapping[str, float] | None = None,
        teachers: str = "probabilities",
        label_weight: float = 1.0,
        label_smoothing: float = 0.0,
        precision: str = "float32",
        accelerate: bool = True,
        cache_teacher: bool = False,
        name: str = "distiller",
    ):
        named = networks_of(student, teacher)
        terms, weights = terms_and_weights(loss, weight, label_weight, taught=bool(named))
        refuse_probabilities(student, "student")
        student, replaced = introduced(terms, student, named)
        # The student's policy, so that Keras scales the loss of a float16 student; pixels are left for it to cast.
        super().__init__(name=name, dtype=student.dtype_policy, autocast=False)
        self.teachers = Teachers(named, terms, teacher_weights, teachers)
        refuse_other_widths(student, {n: one.model for n, one in self.teachers.networks.items()}, terms)
        self.learner = Learner(student, terms, label_smoothing, precision)
        self.replaced = replaced  # what is trained in the student's place, in words
        if accelerate:
            accelerate_unless_changed(student)
            self.teachers.accelerate()
        self.cache_teacher = cache_teacher
        if cache_teacher:
            refuse_uncacheable(self.teachers)
        self.loss_parts = LossParts(label_weight, weights, names_of(terms))
        self._part_metrics = self.loss_parts.metrics  # where Keras finds them
        self._parts: Parts | None = None
        self._own_metrics = False
        self.learner.build_terms(self.teachers)
        self.built = student.built  # weights that a checkpoint holds can be loaded before a first step

    @property
    def student(self) -> keras.Model:
        """The network that learns: an ordinary model, and what is saved."""
        return self.learner.student

    @property
    def label_weight(self) -> float:
        """Weight of the cross-entropy with the labels."""
        return self.loss_parts.label_weight

    @property
    def term_weights(self) -> Sequence[float]:
        """Weights of the terms, in their order, those in force now."""
        return self.loss_parts.weights

    @property
    def label_smoothing(self) -> float:
        """Share of each label spread over all classes while training."""
        return self.learner.label_smoothing

    @property
    def precision(self) -> str:
        """What the student computes in while it trains."""
        return self.learner.precision

    @property
    def terms(self) -> Sequence[Any]:
        """The distillation terms; those that are layers train with the student."""
        return self.learner.terms

    def compile(self, optimizer: Any = "adamw", loss: Any = None, loss_weights: Any = None, **options: Any) -> None:
        """As `keras.Model.compile`, without `loss` and `loss_weights`: the distiller has its own.

        `jit_compile=True` gives the student's forward and backward pass to `torch.compile`; default False.

        Raises:
            ValueError: when a loss is given, or a student can't be compiled: it is no graph of layers, or a term reads
                its layers.
        """
        jit_compile = options.pop("jit_compile", False)
        refuse_to_compile(loss, loss_weights, taps=self.learner.taps if jit_compile else ())
        super().compile(optimizer=optimizer, jit_compile=False, **options)
        self._own_metrics = know_what_no_label_is([options.get("metrics"), options.get("weighted_metrics")])
        self.learner.compiled = compiled(self.student) if jit_compile else None
        set_loss_tracker(self, RunningMean(name="loss"))
        self._parts = None

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """As `keras.Model.fit`; terms with a method `at(progress)` are told the progress in epochs before each step.

        Raises:
            ValueError: when labels are no classes of the student, or logits are to be kept of images that are no array.
        """
        refuse_labels_of_fit(y, options.get("validation_data"), classes_of(self.student))
        self.teachers.refreeze()
        if self.cache_teacher:
            x = with_teacher_logits(self.teachers, x, batch_size or 32)
        callbacks = told(self.terms, self.loss_parts, epochs, callbacks)
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, *args, **options)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The student's logits. `inputs` is a tensor of images or a dict that holds them under `"image"`."""
        return self.student(images_of(inputs), training=training)

    def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """As `keras.Model.__call__`; images that the student does not take are told in plain words."""
        self._images(inputs)
        return super().__call__(inputs, *args, **options)

    def _images(self, x: Any) -> Any:
        """The images of a batch, which fit the student."""
        image = images_of(x)
        refuse_other_pixels(self.student, image.shape, "student")
        return image

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: one forward pass of each network, one update of the student and of terms with weights."""
        parts = self._gathered()
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        sample_weight = weights_of(sample_weight)
        image, index = self._images(x), index_of(x)
        heard = self.teachers(x, image, index) if self.terms else ()  # first: what it refuses changes no statistics
        logits, own, values = self.learner.call(image, lambda wide_logits: labels_of(y, wide_logits), heard, index)
        total = self.loss_parts.total(own, values, y, logits, sample_weight)
        for extra in parts.losses():
            total = total + keras.ops.sum(extra)
        loss_tracker(self).update_state(total.detach(), sample_weight=logits.shape[0])
        gradients = parts.gradients(self.optimizer, total)
        if self.finite is not None:
            self.finite(StepFacts(total, self.loss_parts.named(own, values), index, gradients))
        parts.update(self.optimizer, gradients)
        with torch.no_grad():
            results = self.compute_metrics(x, y, logits.detach(), sample_weight=sample_weight)
        if own is not None:
            return results
        measured = {"loss", *(metric.name for metric in self._part_metrics[1:])}
        return {name: value for name, value in results.items() if name in measured}

    def test_step(self, data: Any) -> dict[str, Any]:
        """The student on labels: `loss` is the cross-entropy, without smoothing or terms."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        sample_weight = weights_of(sample_weight)
        logits = self.student(self._images(x), training=False)
        labels = labels_of(y, logits)
        if labels is None:
            raise ValueError("evaluate needs labels.")
        mean, count = mean_over_labelled(cross_entropy(labels, wide(logits)), known(labels), sample_weight)
        loss_tracker(self).update_state(mean, sample_weight=count)
        results = self.compute_metrics(x, y, logits, sample_weight=sample_weight)
        training_only = {metric.name for metric in self._part_metrics}
        return {name: value for name, value in results.items() if name not in training_only}

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """As `keras.Model.compute_metrics`; examples without labels are left out."""
        if y is None:
            return self.get_metrics_result()
        if not self._own_metrics:
            y, y_pred, sample_weight = labelled_alone(y, y_pred, sample_weight)
        if len(y_pred):
            return super().compute_metrics(x, y, y_pred, sample_weight)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """The metrics' values by name; compiled metrics have none before they met a label."""
        return self._gathered().results(compiled_metrics(self))

    def reset_metrics(self) -> None:
        """As `keras.Model.reset_metrics`, at the start of every epoch."""
        self._parts = None
        super().reset_metrics()

    def _gathered(self) -> Parts:
        """What a step needs of every layer, gathered anew each epoch: so a callback may freeze layers between them."""
        if self._parts is None:
            self._parts = Parts.of(self)
        return self._parts
