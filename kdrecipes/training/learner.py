"""`Learner`: all that trains in a distiller, the student and terms with weights, as one module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.data.splits import NO_LABEL
from kdrecipes.keras_private import take_any_arguments
from kdrecipes.term_places import about
from kdrecipes.training.arguments import check_ways
from kdrecipes.training.class_counts import refuse_other_logits
from kdrecipes.training.features import tapped
from kdrecipes.training.inference import autocast, wide
from kdrecipes.training.teachers import ONLY, Teachers, layers_of, named_by


class Learner(keras.layers.Layer):
    """The student, and terms that are layers or have some (their variables train with it and are no part of it).

    Args:
        student: from images to logits.
        terms: distillation terms.
        label_smoothing: share of each label spread over all classes.
        precision: what the student computes in: "float32", or by `torch.autocast` "bfloat16" or "float16".

    Attributes:
        compiled: the student's training pass through `torch.compile`; None where it is run as it is.
        taps: the student's layers that terms read, by name.
        parts: the layers that terms have made for themselves, see `build_terms`.
        listener: called in each pass with the logits, the labels, and the label loss's and the terms' values, all as
            in `call`; None for nobody.
    """

    def __init__(self, student: keras.Model, terms: Sequence[Any], label_smoothing: float, precision: str):
        check_ways(label_smoothing, precision)
        super().__init__(name="learner", dtype=student.dtype_policy, autocast=False)
        self.student, self.terms = student, list(terms)
        self.label_smoothing, self.precision = float(label_smoothing), precision
        self.compiled: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.listener: Callable[[torch.Tensor, Any, torch.Tensor | None, Sequence[Any]], None] | None = None
        # Keras tracks and saves the layers that it finds in attributes, lists and dicts; into this it does not look.
        self.taps = MappingProxyType(layers_of(dict(enumerate(terms)), "student_layers", student, "the student"))
        self.parts = _parts_of(terms)
        self.built = True

    def call(
        self, image: torch.Tensor, labels: Any, heard: Sequence[Outputs], index: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """One forward pass in training mode.

        Args:
            image: float (batch, height, width, channels).
            labels: from logits to labels in their dtype, int64 (batch,) or float (batch, classes); or to None.
            heard: of the teachers by each term, in the order of terms.
            index: int64 (batch,); None where the data have none.

        Returns:
            Logits (batch, classes) in the student's dtype; cross-entropy with the labels, (batch,) in nats, or None;
            the terms' values, each (batch,) or a scalar.
        """
        with tapped(self.taps) as features, autocast(self.precision, image):
            logits = self.student(image, training=True) if self.compiled is None else self.compiled(image)
        student = Outputs(wide(logits), features, index)
        known = labels(student.logits)
        own = None if known is None else cross_entropy(known, student.logits, self.label_smoothing)
        values = []
        for number, (term, one) in enumerate(zip(self.terms, heard, strict=True)):
            with about(number):
                refuse_other_logits(term, student, one)
                values.append(term(known, student, one))
        if self.listener is not None:
            self.listener(logits, known, own, values)
        return logits, own, values

    def build_terms(self, teachers: Teachers) -> None:
        """Build what of terms learns, by one call on a batch of black images, before the optimiser is built.

        These are terms that are layers, and those with an attribute `parts`, a list into which the first call puts
        layers.

        Raises:
            ValueError: when the student's input has no size.
        """
        for term in self.terms:
            if isinstance(term, keras.layers.Layer):
                take_any_arguments(term)  # `Outputs` are no tensors
        unbuilt = [term for term in self.terms if _is_unbuilt(term)]
        if not unbuilt:
            return
        shape = getattr(self.student, "input_shape", (None, None))[1:]
        if None in shape:
            raise ValueError("The student takes images of any size: call the terms that learn once yourself.")
        with torch.no_grad():
            image = keras.ops.zeros((2, *shape))
            index = torch.arange(2, device=image.device)
            with tapped(self.taps) as features:
                student = Outputs(wide(self.student(image, training=False)), features, index)
            # A batch may bring teachers' logits along; where there is no teacher they are as wide as the student's.
            names = {named_by(term) or ONLY for term in self.terms}
            black = image if teachers.networks else {"teacher": dict.fromkeys(names, torch.zeros_like(student.logits))}
            labels = torch.zeros(2, dtype=torch.int64, device=student.logits.device)
            for number, (term, heard) in enumerate(zip(self.terms, teachers(black, image, index), strict=True)):
                if any(term is one for one in unbuilt):
                    with about(number):
                        term(labels, student, heard)
        self.parts = _parts_of(self.terms)


def _is_unbuilt(term: Any) -> bool:
    """Whether a term will make weights at its first call."""
    if isinstance(term, keras.layers.Layer):
        return not term.built
    return getattr(term, "parts", None) == []


def _parts_of(terms: Sequence[Any]) -> list[keras.layers.Layer]:
    """The layers that terms which are none themselves have made, each once."""
    made = [part for term in terms if not isinstance(term, keras.layers.Layer) for part in getattr(term, "parts", ())]
    return list({id(part): part for part in made}.values())


def cross_entropy(labels: torch.Tensor, logits: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """(batch,) cross-entropy, in nats; `labels` are int64 (batch,) or float (batch, classes).

    Of an example without a label, -1 or a row of zeros, the value means nothing; it is finite.
    """
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing, ignore_index=NO_LABEL)


def names_of(terms: Sequence[Any]) -> list[str]:
    """A name for each term's metric: its `name`, else its class's in lower case; repeated ones are numbered."""
    names: list[str] = []
    for term in terms:
        own = getattr(term, "name", None) or getattr(term, "__name__", None) or type(term).__name__
        base = name = str(own).lower()
        count = 2
        while name in names or name in ("loss", "label_loss", "accuracy"):
            name, count = f"{base}_{count}", count + 1
        names.append(name)
    return names
