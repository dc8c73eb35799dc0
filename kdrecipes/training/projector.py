"""`Projected`: a term whose student features are brought to the teacher's widths and sizes, by maps that learn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import torch

from kdrecipes.backend import keras
from kdrecipes.components.losses.pairs import Pair, to_smaller_map
from kdrecipes.components.outputs import Outputs

KINDS = ("linear", "conv")
Kind = Literal["linear", "conv"]


class Projected(keras.layers.Layer):
    """Wrap a term; each student feature goes through a 1×1 map to the width of its teacher feature.

    The maps are trained with the student and are no part of it (Romero et al., arXiv:1412.6550, section 2.2). Of two
    maps (batch, height, width, channels) of different sizes the larger is averaged to the size of the smaller before,
    unless the term says `any_size = True`: it takes them as they are.

    Args:
        term: a term with `student_layers` and `teacher_layers`, equally many, paired in order, no student layer twice.
        kind: of the maps. "linear" (default): one matrix, for vectors and for each position of a map. "conv": the same,
            then batch normalisation with a batch's own statistics, then ReLU: for teacher layers that end in a ReLU.

    Raises:
        ValueError: when the layers do not pair up, a student layer occurs twice, or the kind is none.
    """

    def __init__(self, term: Any, kind: Kind = "linear", name: str | None = None):
        super().__init__(name=name or f"{type(term).__name__.lower()}_projected")
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(map(repr, KINDS))}. Received: {kind!r}")
        self.term, self.kind = term, kind
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
        if kind == "conv":
            self.relational = True  # a batch's statistics depend on all of it
        if isinstance(named := getattr(term, "teacher", None), str):  # whom it hears
            self.teacher = named
        self.maps: list[keras.layers.Dense] = []
        self.norms: list[keras.layers.BatchNormalization] = []
        self.built = False

    def __call__(self, labels: Any, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """The wrapped term's values; the first call builds the maps."""
        pairs = [
            self._at_one_size(Pair(mine, theirs, student.features[mine], teacher.features[theirs]))
            for mine, theirs in zip(self.student_layers, self.teacher_layers, strict=True)
        ]
        if not self.built:
            for pair in pairs:
                self._build_map(pair)
            self.built = True
        mapped = {pair.student_layer: self._mapped(i, pair.student) for i, pair in enumerate(pairs)}
        theirs = {pair.teacher_layer: pair.teacher for pair in pairs}
        return self.term(
            labels,
            replace(student, features={**student.features, **mapped}),
            replace(teacher, features={**teacher.features, **theirs}),
        )

    def _at_one_size(self, pair: Pair) -> Pair:
        """A pair of maps of one size; what is no map, or is for a term of any size, stays."""
        if getattr(self.term, "any_size", False):
            return pair
        mine, theirs = to_smaller_map(pair.student, pair.teacher)
        if theirs.shape != pair.teacher.shape and Counter(self.teacher_layers)[pair.teacher_layer] > 1:
            raise ValueError(
                f"{pair.shapes()}: a projector brings them to one size, which it can't where a teacher layer has "
                "several partners. Name maps of one size, or make two terms."
            )
        return pair._replace(student=mine, teacher=theirs)

    def _build_map(self, pair: Pair) -> None:
        width = pair.teacher.shape[-1]
        dense = keras.layers.Dense(width, use_bias=False)
        dense.build(pair.student.shape)
        self.maps.append(dense)
        if self.kind == "conv":
            norm = keras.layers.BatchNormalization()
            norm.build((*pair.student.shape[:-1], width))
            self.norms.append(norm)

    def _mapped(self, index: int, feature: torch.Tensor) -> torch.Tensor:
        """The student's feature of one pair at the teacher's width."""
        feature = self.maps[index](feature)
        return keras.ops.relu(self.norms[index](feature, training=True)) if self.norms else feature
