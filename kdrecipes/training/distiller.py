"""`Distiller`: a `keras.Model` that trains a student on labels and distillation terms with the ordinary `fit` loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.fast.compiled import compiled
from kdrecipes.keras_private import (
    added_losses,
    compiled_metrics,
    flat_layers,
    loss_tracker,
    set_loss_tracker,
    take_any_arguments,
)
from kdrecipes.training.batches import (
    images_of,
    index_of,
    labels_of,
    mean_over_examples,
    teacher_images_of,
    weights_of,
)
from kdrecipes.training.features import find_layer, tapped
from kdrecipes.training.inference import Inference, at_input_size, autocast, refuse_softmax, wide
from kdrecipes.training.metrics import RunningMean

Term = Callable[[Any, "Outputs", "Outputs"], torch.Tensor]  # labels, student, teacher → (batch,) or scalar


class Distiller(keras.Model):
    """Trains `student` on `label_weight · cross-entropy + Σ weight · term`, means over examples.

    `compile`, `fit`, `evaluate`, `predict`, callbacks and any data Keras takes work as for every model; `compile` gets
    an optimiser and metrics, the loss is given here. `evaluate` and validation run the student on labels only: `loss`
    there is the cross-entropy and the teacher is not called. Save `distiller.student`, which is an ordinary model.

    The teacher runs in inference mode under `torch.no_grad()`. It is not tracked: it is in no checkpoint, no optimiser
    sees it, and neither its weights nor its `trainable` flag change.

    Args:
        student: a `keras.Model` from images (batch, height, width, channels) to logits (batch, classes).
        teacher: the same for the teacher, or a `torch.nn.Module`; where its fixed input size differs from the images',
            they are resized for it (antialiased bilinear). None is allowed when no term reads it.
        loss: one distillation term or a list of them. A term is a callable `term(labels, student, teacher)` that
            returns (batch,) values, or a scalar where it is no mean over examples; `labels` is int64 (batch,) or
            float (batch, classes), `student` and `teacher` are `Outputs`. See `KD`.
        weight: the term's weight, or a list as long as `loss`. Default 1.0.
        label_weight: weight of the cross-entropy with the labels. Default 1.0.
        label_smoothing: share of each label spread over all classes while training. Default 0.0.
        precision: what the student computes in while it trains: "float32", or by `torch.autocast` "bfloat16" or
            "float16" (then give `compile` a `keras.optimizers.LossScaleOptimizer`). Its weights, its gradients, losses
            and validation stay float32. Default "float32".

    Raises:
        ValueError: when weights and terms do not pair up, a network ends in a softmax, or a term names a layer that
            its network lacks.

    Example:
        ```python
        distiller = Distiller(teacher=teacher, student=student, loss=KD(temperature=4.0), weight=0.9, label_weight=0.1)
        distiller.compile(optimizer="adam", metrics=["accuracy"])
        distiller.fit(images, labels, epochs=5)
        ```
    """

    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: keras.Model | torch.nn.Module | Inference | None = None,
        loss: Term | Sequence[Term] = (),
        weight: float | Sequence[float] = 1.0,
        label_weight: float = 1.0,
        label_smoothing: float = 0.0,
        precision: str = "float32",
        name: str = "distiller",
    ):
        # The student's policy, so that Keras scales the loss of a float16 student; pixels are left for it to cast.
        super().__init__(name=name, dtype=student.dtype_policy, autocast=False)
        terms: list[Any] = list(loss) if isinstance(loss, list | tuple) else [loss]
        weights = [weight] * len(terms) if isinstance(weight, int | float) else list(weight)
        if len(weights) != len(terms):
            raise ValueError(f"`weight`: a number, or one for each term. Received: {len(weights)} for {len(terms)}")
        for term in terms:
            if not callable(term):
                raise ValueError(f"`loss`: a term is a callable, for example KD(temperature=4.0). Received: {term!r}")
        if not terms and label_weight == 0:
            raise ValueError("`label_weight` is 0 and there is no term: nothing to train on.")
        refuse_softmax(student, "student")
        self.student = student
        if teacher is not None and not isinstance(teacher, Inference):
            teacher = Inference(teacher)
        teacher_taps = _layers_of(terms, "teacher_layers", teacher and teacher.model)
        if teacher is not None:
            refuse_softmax(teacher.model, "teacher")
        # Keras tracks and saves the layers and torch modules it finds in a layer's attributes, lists and dicts; the
        # teacher stays out inside an object that Keras does not look into, and so do the taps.
        self._teacher: Inference | None = teacher
        self._teacher_taps = MappingProxyType(teacher_taps)
        self._student_taps = MappingProxyType(_layers_of(terms, "student_layers", student))
        self.terms = terms  # terms that are layers are tracked: their variables train with the student
        self.term_weights = [float(w) for w in weights]
        self.label_weight, self.label_smoothing = float(label_weight), float(label_smoothing)
        self._label_tracker = RunningMean(name="label_loss")
        self._term_trackers = [RunningMean(name=term_name) for term_name in _names(terms)]
        self._parts: _Parts | None = None
        self.precision = precision
        self._compiled: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._build_terms()

    def compile(self, optimizer: Any = "adamw", loss: Any = None, loss_weights: Any = None, **options: Any) -> None:
        """As `keras.Model.compile`, without `loss` and `loss_weights`: the distiller has its own.

        `jit_compile=True` gives the student's forward and backward pass to `torch.compile`; default False.

        Raises:
            ValueError: when a loss is given, or a student can't be compiled: it is no graph of layers, or a term reads
                its layers.
        """
        if loss is not None or loss_weights is not None:
            raise ValueError(
                "Give the distillation term to Distiller(loss=…) and its weight to Distiller(weight=…); the label loss "
                f"is the cross-entropy. Received: compile(loss={loss!r}, loss_weights={loss_weights!r})"
            )
        jit_compile = options.pop("jit_compile", False)
        if jit_compile and self._student_taps:
            raise ValueError(f"A student whose layers a term reads ({list(self._student_taps)}) can't be compiled.")
        super().compile(optimizer=optimizer, jit_compile=False, **options)
        self._compiled = compiled(self.student) if jit_compile else None
        set_loss_tracker(self, RunningMean(name="loss"))
        self._parts = None

    def fit(self, *args: Any, callbacks: Any = None, **options: Any) -> Any:
        """As `keras.Model.fit`; terms with a method `at(progress)` are told the progress in epochs before each step."""
        scheduled = [term for term in self.terms if hasattr(term, "at")]
        if scheduled and isinstance(callbacks, keras.callbacks.CallbackList):
            progress = _Progress(scheduled)
            progress.set_params(callbacks.params)
            callbacks.callbacks.append(progress)
        elif scheduled:
            given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
            callbacks = [*given, _Progress(scheduled)]
        return super().fit(*args, callbacks=callbacks, **options)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The student's logits. `inputs` is a tensor of images or a dict that holds them under `"image"`."""
        return self.student(images_of(inputs), training=training)

    def asks_teacher(self, cached: bool) -> bool:
        """Whether a step runs the teacher: for logits, unless they come with the batch (`cached`), or for layers."""
        return self._teacher is not None and bool(self.terms) and (not cached or bool(self._teacher_taps))

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: one forward pass of each network, one update of the student and of terms with weights."""
        parts = self._gathered()
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        sample_weight = weights_of(sample_weight)
        image, index = images_of(x), index_of(x)
        with tapped(self._student_taps) as features, autocast(self.precision, image):
            logits = self.student(image, training=True) if self._compiled is None else self._compiled(image)
        student = Outputs(wide(logits), features, index)
        n = student.logits.shape[0]
        labels = labels_of(y, student.logits)
        total = torch.zeros((), device=student.logits.device)
        if labels is not None:
            value = mean_over_examples(self._cross_entropy(labels, student.logits, self.label_smoothing), sample_weight)
            self._label_tracker.update_state(value.detach(), sample_weight=n)
            total = total + self.label_weight * value
        elif self.label_weight:
            raise ValueError("The data have no labels. Set label_weight=0, or give labels.")
        if self.terms:
            taught = self._teach(x, image, index)
            for term, weight, tracker in zip(self.terms, self.term_weights, self._term_trackers, strict=True):
                value = mean_over_examples(term(labels, student, taught), sample_weight)
                tracker.update_state(value.detach(), sample_weight=n)
                total = total + weight * value
        for extra in parts.losses():
            total = total + keras.ops.sum(extra)
        loss_tracker(self).update_state(total.detach(), sample_weight=n)
        values = [variable.value for variable in parts.variables]
        for value in values:  # Keras' zero_grad misses variables that share a path with another
            value.grad = None
        self.optimizer.scale_loss(total).backward()
        with torch.no_grad():
            self.optimizer.apply([value.grad for value in values], parts.variables)
            results = self.compute_metrics(x, y, logits.detach(), sample_weight=sample_weight)
        if labels is not None:
            return results
        measured = {"loss", *(tracker.name for tracker in self._term_trackers)}
        return {name: value for name, value in results.items() if name in measured}

    def test_step(self, data: Any) -> dict[str, Any]:
        """The student on labels: `loss` is the cross-entropy, without smoothing or terms."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        sample_weight = weights_of(sample_weight)
        logits = self.student(images_of(x), training=False)
        labels = labels_of(y, logits)
        if labels is None:
            raise ValueError("evaluate needs labels.")
        values = self._cross_entropy(labels, wide(logits))
        loss_tracker(self).update_state(mean_over_examples(values, sample_weight), sample_weight=values.shape[0])
        results = self.compute_metrics(x, y, logits, sample_weight=sample_weight)
        training_only = {"label_loss", *(tracker.name for tracker in self._term_trackers)}
        return {name: value for name, value in results.items() if name not in training_only}

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """As `keras.Model.compute_metrics`; without labels the compiled metrics are left out."""
        return self.get_metrics_result() if y is None else super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """The metrics' values by name; compiled metrics have none before they met a label."""
        compiled = compiled_metrics(self)
        results: dict[str, Any] = {}
        for metric in self._gathered().metrics:
            if metric is not compiled:
                results[metric.name] = metric.result()
            elif compiled.built:
                results.update(metric.result())
        return results

    def reset_metrics(self) -> None:
        """As `keras.Model.reset_metrics`, at the start of every epoch."""
        self._parts = None
        super().reset_metrics()

    def _gathered(self) -> _Parts:
        """What a step needs of every layer, gathered anew each epoch: so a callback may freeze layers between them."""
        if self._parts is None:
            self._parts = _Parts(self.trainable_weights[:], flat_layers(self), self.metrics)
        return self._parts

    def get_config(self) -> dict[str, Any]:
        """A distiller holds a teacher and is no thing to save.

        Raises:
            TypeError: always; `distiller.student` is the model to save.
        """
        raise TypeError("A Distiller is not saved; save `distiller.student`, which is an ordinary Keras model.")

    @staticmethod
    def _cross_entropy(labels: torch.Tensor, logits: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """(batch,) cross-entropy, in nats; `labels` are int64 (batch,) or float (batch, classes)."""
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

    def _teach(self, x: Any, image: torch.Tensor, index: torch.Tensor | None) -> Outputs:
        """The teacher's outputs: its own, or where logits came with the batch those, and of its layers what is read."""
        given = wide(keras.ops.convert_to_tensor(x["teacher"])) if isinstance(x, dict) and "teacher" in x else None
        if given is not None and not self._teacher_taps:
            return Outputs(given, {}, index)
        if self._teacher is None:
            return _NO_TEACHER
        image = at_input_size(teacher_images_of(x, image), self._teacher.model)
        with torch.no_grad():
            if given is not None:
                return Outputs(given, self._teacher.features(image, self._teacher_taps), index)
            with tapped(self._teacher_taps) as features:
                logits = self._teacher(image)
        return Outputs(wide(logits), features, index)

    def _build_terms(self) -> None:
        """Build terms that are layers, by one call on a batch of black images, before the optimiser is built."""
        layers = [term for term in self.terms if isinstance(term, keras.layers.Layer)]
        for term in layers:
            take_any_arguments(term)  # `Outputs` are no tensors
        unbuilt = [term for term in layers if not term.built]
        if not unbuilt:
            return
        shape = getattr(self.student, "input_shape", (None, None))[1:]
        if None in shape:
            raise ValueError("The student takes images of any size: call the terms that are layers once yourself.")
        with torch.no_grad():
            image = keras.ops.zeros((2, *shape))
            with tapped(self._student_taps) as features:
                student = Outputs(wide(self.student(image, training=False)), features)
            # A batch may bring the teacher's logits along; where there is no teacher they are as wide as the student's.
            logits = torch.zeros_like(student.logits)
            taught = self._teach({"teacher": logits} if self._teacher is None else image, image, None)
            labels = torch.zeros(2, dtype=torch.int64, device=student.logits.device)
            for term in unbuilt:
                term(labels, student, taught)


@dataclass
class _Parts:
    """What Keras would gather by a walk through all layers, several times a step."""

    variables: list[Any]
    layers: list[Any]
    metrics: list[Any]

    def losses(self) -> list[torch.Tensor]:
        """As `keras.Model.losses`: of layers' `add_loss` and of regularisers."""
        return added_losses(self.layers) + [v.regularizer(v) for v in self.variables if v.regularizer is not None]


class _NoTeacher(Outputs):
    """Stands where a term is given a teacher's outputs and there is none."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("logits", "features", "index"):
            raise ValueError(f"A term reads the teacher's {name}, but there is no teacher, nor logits in the batch.")
        return super().__getattribute__(name)


_NO_TEACHER = _NoTeacher(torch.empty(0))


class _Progress(keras.callbacks.Callback):
    """Tells terms how far training is, in epochs. Data of unknown length are as long as in the epoch before."""

    def __init__(self, scheduled: Sequence[Any]):
        super().__init__()
        self.scheduled = scheduled
        self.epoch = self.seen = self.steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        steps = self.params.get("steps") or self.steps
        for term in self.scheduled:
            term.at(self.epoch + (min(batch / steps, 1.0) if steps else 0.0))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen = batch + 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.steps = self.seen


def _layers_of(terms: Sequence[Any], attribute: str, model: Any) -> dict[str, Any]:
    names = dict.fromkeys(name for term in terms for name in getattr(term, attribute, ()))
    if names and model is None:
        raise ValueError(f"A term reads {attribute} {list(names)}, but there is no teacher.")
    return {name: find_layer(model, name) for name in names}


def _names(terms: Sequence[Any]) -> list[str]:
    """A name for each term's metric: its `name`, else its class's in lower case; repeated ones are numbered."""
    names: list[str] = []
    for term in terms:
        own = getattr(term, "name", None) or getattr(term, "__name__", None) or type(term).__name__
        base = name = str(own).lower()
        count = 2
        while name in names or name in ("loss", "label_loss"):
            name, count = f"{base}_{count}", count + 1
        names.append(name)
    return names
