"""`Projected`: a term whose student features are mapped to the teacher's widths by trainable linear layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs


class Projected(keras.layers.Layer):
    """Wrap a term; each student feature goes through a 1×1 linear map to the width of its teacher feature.

    The maps are trained with the student and are no part of it (Romero et al., arXiv:1412.6550, section 2.2).

    Args:
        term: a term with `student_layers` and `teacher_layers`, equally many, paired in order, no student layer twice.

    Raises:
        ValueError: when the layers do not pair up, or a student layer occurs twice.
    """

    def __init__(self, term: Any, name: str | None = None):
        super().__init__(name=name or f"{type(term).__name__.lower()}_projected")
        self.term = term
        self.student_layers, self.teacher_layers = tuple(term.student_layers), tuple(term.teacher_layers)
        if not self.student_layers or len(self.student_layers) != len(self.teacher_layers):
            raise ValueError(
                f"A projector pairs student_layers {self.student_layers} with teacher_layers {self.teacher_layers}: "
                "equally many, and at least one."
            )
        if len(set(self.student_layers)) < len(self.student_layers):
            raise ValueError(f"A projector maps each student layer once. Received: {self.student_layers}")
        for name in ("at", "relational", "mixed_labels"):  # what a term may say of itself
            if hasattr(term, name):
                setattr(self, name, getattr(term, name))
        if isinstance(named := getattr(term, "teacher", None), str):  # whom it hears
            self.teacher = named
        self.maps: list[keras.layers.Dense] = []
        self.built = False

    def __call__(self, labels: Any, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """The wrapped term's values; the first call builds the maps."""
        if not self.built:
            for mine, theirs in zip(self.student_layers, self.teacher_layers, strict=True):
                dense = keras.layers.Dense(teacher.features[theirs].shape[-1], use_bias=False)
                dense.build(student.features[mine].shape)
                self.maps.append(dense)
            self.built = True
        mapped = {
            name: dense(student.features[name]) for name, dense in zip(self.student_layers, self.maps, strict=True)
        }
        return self.term(labels, replace(student, features={**student.features, **mapped}), teacher)
