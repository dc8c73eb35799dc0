"""`Distiller`: a `keras.Model` that trains a student on labels and distillation terms with the ordinary `fit` loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.data.views import resize
from kdrecipes.features import find_layer, tapped

Term = Callable[[torch.Tensor, "Outputs", "Outputs"], torch.Tensor]


@dataclass
class Outputs:
    """What a network says about a batch, as a term sees it.

    Attributes:
        logits: (batch, classes), at least float32.
        features: the declared layers' outputs, by name.
        index: int64 (batch,), positions in the train split; None where the data have none.
    """

    logits: torch.Tensor
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    index: torch.Tensor | None = None


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
        teacher: keras.Model | torch.nn.Module | None = None,
        loss: Term | Sequence[Term] = (),
        weight: float | Sequence[float] = 1.0,
        label_weight: float = 1.0,
        label_smoothing: float = 0.0,
        name: str = "distiller",
    ):
        super().__init__(name=name)
        terms = list(loss) if isinstance(loss, list | tuple) else [loss]
        weights = [weight] * len(terms) if isinstance(weight, int | float) else list(weight)
        if len(weights) != len(terms):
            raise ValueError(f"`weight` must be a number or one for each term. Received: {len(weights)} for {len(terms)}")
        if not terms and label_weight == 0:
            raise ValueError("`label_weight` is 0 and there is no term: nothing to train on.")
        _refuse_softmax(student, "student")
        self.student = student
        # Keras tracks every model and torch module among a layer's attributes; the teacher must stay out.
        object.__setattr__(self, "teacher", teacher)
        if teacher is not None:
            _refuse_softmax(teacher, "teacher")
        self.terms = terms  # terms that are layers are tracked: their variables train with the student
        self.term_weights = [float(w) for w in weights]
        self.label_weight, self.label_smoothing = float(label_weight), float(label_smoothing)
        self._student_taps = _layers_of(terms, "student_layers", student)
        self._teacher_taps = _layers_of(terms, "teacher_layers", teacher)
        self._label_tracker = keras.metrics.Mean(name="label_loss")
        self._term_trackers = [keras.metrics.Mean(name=term_name) for term_name in _names(terms)]
        self._build_terms()

    def compile(self, optimizer: Any = "adamw", metrics: Any = None, weighted_metrics: Any = None, **options: Any) -> None:
        """As `keras.Model.compile`, without `loss`: the distiller has its own.

        Raises:
            ValueError: when a loss is given.
        """
        if options.get("loss") is not None:
            raise ValueError(
                "Give the distillation term to Distiller(loss=…); the label loss is the cross-entropy. "
                f"Received: compile(loss={options['loss']!r})"
            )
        options.setdefault("jit_compile", False)
        super().compile(optimizer=optimizer, metrics=metrics, weighted_metrics=weighted_metrics, **options)

    def fit(self, *args: Any, callbacks: Any = None, **options: Any) -> Any:
        """As `keras.Model.fit`. Terms with a method `at(progress)` are told the progress, in epochs, before each step."""
        if any(hasattr(term, "at") for term in self.terms) and not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [*(callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []),
                         _Progress(self.terms)]  # fmt: skip
        return super().fit(*args, callbacks=callbacks, **options)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The student's logits. `inputs` is a tensor of images or a dict that holds them under `"image"`."""
        return self.student(_image(inputs), training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: one forward pass of each network, one update of the student and of terms with weights."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        image, index = _image(x), x.get("index") if isinstance(x, dict) else None
        with tapped(self._student_taps) as features:
            logits = self.student(image, training=True)
        student = Outputs(_wide(logits), features, index)
        n = student.logits.shape[0]
        labels = _labels(y, student.logits)
        total = torch.zeros((), device=student.logits.device)
        if sample_weight is not None:
            sample_weight = keras.ops.convert_to_tensor(sample_weight, dtype="float32").reshape(-1)
        if labels is not None:
            value = _mean(self._cross_entropy(labels, student.logits, self.label_smoothing), sample_weight)
            self._label_tracker.update_state(value.detach(), sample_weight=n)
            total = total + self.label_weight * value
        elif self.label_weight:
            raise ValueError("The data have no labels. Set label_weight=0, or give labels.")
        if self.terms:
            taught = self._teach(x, image, index)
            for term, weight, tracker in zip(self.terms, self.term_weights, self._term_trackers, strict=True):
                value = _mean(term(labels, student, taught), sample_weight)
                tracker.update_state(value.detach(), sample_weight=n)
                total = total + weight * value
        for extra in self.losses:
            total = total + extra
        self._loss_tracker.update_state(total.detach(), sample_weight=n)
        self.optimizer.scale_loss(total).backward()
        variables = self.trainable_weights[:]
        gradients = [v.value.grad for v in variables]
        with torch.no_grad():
            self.optimizer.apply(gradients, variables)
        return self.compute_metrics(x, y, logits, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The student on labels: `loss` is the cross-entropy, without smoothing or terms."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        logits = self.student(_image(x), training=False)
        labels = _labels(y, logits)
        if labels is None:
            raise ValueError("evaluate needs labels.")
        values = self._cross_entropy(labels, _wide(logits))
        if sample_weight is not None:
            sample_weight = keras.ops.convert_to_tensor(sample_weight, dtype="float32").reshape(-1)
        self._loss_tracker.update_state(_mean(values, sample_weight), sample_weight=values.shape[0])
        results = self.compute_metrics(x, y, logits, sample_weight=sample_weight)
        training_only = {"label_loss", *(tracker.name for tracker in self._term_trackers)}
        return {name: value for name, value in results.items() if name not in training_only}

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

    def _teach(self, x: Any, image: torch.Tensor, index: torch.Tensor | None) -> Outputs | None:
        """The teacher's outputs, from the batch where they came with it, else from the teacher itself."""
        if isinstance(x, dict) and "teacher" in x:
            return Outputs(_wide(keras.ops.convert_to_tensor(x["teacher"])), {}, index)
        if self.teacher is None:
            return None
        with torch.no_grad(), tapped(self._teacher_taps) as features:
            logits = _inference(self.teacher, _resized(image, self.teacher))
        return Outputs(_wide(logits), features, index)

    def _build_terms(self) -> None:
        """Build terms that are layers, by one call on a batch of black images, before the optimiser is built."""
        unbuilt = [term for term in self.terms if isinstance(term, keras.layers.Layer) and not term.built]
        if not unbuilt:
            return
        shape = self.student.input_shape[1:]
        if None in shape:
            raise ValueError(f"The student takes images of any size {shape}: build the terms that are layers yourself.")
        with torch.no_grad():
            image = keras.ops.zeros((2, *shape))
            with tapped(self._student_taps) as features:
                student = Outputs(_wide(self.student(image, training=False)), features)
            taught = self._teach(image, image, None)
            labels = torch.zeros(2, dtype=torch.int64, device=student.logits.device)
            for term in unbuilt:
                term(labels, student, taught)


class _Progress(keras.callbacks.Callback):
    """Tells terms how far training is, in epochs."""

    def __init__(self, terms: Sequence[Any]):
        super().__init__()
        self.scheduled = [term for term in terms if hasattr(term, "at")]
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        for term in self.scheduled:
            term.at(self.epoch + batch / (self.params.get("steps") or 1))


def _image(x: Any) -> Any:
    image = x["image"] if isinstance(x, dict) else x
    return image if isinstance(image, keras.KerasTensor) else keras.ops.convert_to_tensor(image)


def _labels(y: Any, logits: torch.Tensor) -> torch.Tensor | None:
    """int64 (batch,), or float (batch, classes) of the logits' dtype."""
    if y is None:
        return None
    labels = keras.ops.convert_to_tensor(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return labels.to(torch.int64) if labels.ndim == 1 else labels.to(_wide(logits).dtype)


def _wide(logits: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _mean(values: torch.Tensor, sample_weight: torch.Tensor | None) -> torch.Tensor:
    """Mean over examples; a scalar term is its own mean and has no examples to weigh."""
    if values.ndim == 0:
        return values
    return values.mean() if sample_weight is None else (values * sample_weight).mean()


def _inference(model: Any, image: torch.Tensor) -> torch.Tensor:
    """Logits in inference mode; a torch module gets its own mode back afterwards."""
    if isinstance(model, keras.layers.Layer):
        # Torch modules inside a Keras model listen to the module's mode, not to the argument.
        modes = [(m, m.training) for m in model.modules()] if _wraps_torch(model) else []
        for module, _ in modes:
            module.training = False
        logits = model(image, training=False)
    else:
        modes = [(m, m.training) for m in model.modules()]
        model.eval()
        logits = model(image)
    for module, mode in modes:
        module.training = mode
    return logits


def _wraps_torch(model: Any) -> bool:
    return any(isinstance(layer, keras.layers.TorchModuleWrapper) for layer in model._flatten_layers())


def _resized(image: torch.Tensor, model: Any) -> torch.Tensor:
    """The images at the model's input size, where that is fixed and another."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] is None or shape[1:3] == tuple(image.shape[1:3]):
        return image
    return resize(image.float(), shape[1])


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


def _refuse_softmax(model: Any, role: str) -> None:
    """A softmax where logits are due would be softened twice, silently."""
    last = model.layers[-1] if isinstance(model, keras.Model) and model.layers else None
    if getattr(last, "activation", None) is keras.activations.softmax or isinstance(last, keras.layers.Softmax):
        raise ValueError(
            f"The {role} ends in a softmax ({last.name!r}); distillation needs logits. Build it with "
            "classifier_activation=None, or without its last activation."
        )
