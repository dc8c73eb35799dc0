"""How many classes a student, its teachers and the labels speak of: compared before anything is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs


def classes_of(model: Any) -> int | None:
    """The width of a network's logits; None where it does not tell before it is called."""
    if isinstance(model, torch.nn.Sequential) and len(model):
        return classes_of(model[-1])
    if isinstance(model, torch.nn.Linear):
        return model.out_features
    shape = getattr(model, "output_shape", None) if isinstance(model, keras.layers.Layer) else None
    return shape[1] if isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int) else None


def refuse_other_widths(student: Any, teachers: Mapping[str, Any], terms: Sequence[Any]) -> None:
    """Compare the widths of a student's and its teachers' logits, where they are known before a step.

    Args:
        student: a network.
        teachers: networks by name.
        terms: distillation terms. A teacher that only terms on layers read may know other classes.

    Raises:
        ValueError: for a student of one output, or a teacher whose logits the student can't be compared with.
    """
    mine = classes_of(student)
    if mine == 1:
        raise ValueError(f"The student has 1 output, and {_ONE_OUTPUT}")
    for name, teacher in teachers.items():
        theirs = classes_of(teacher)
        compared = any(_hears(term, name) and reads_logits(term) for term in terms)
        if compared and None not in (mine, theirs) and mine != theirs:
            raise ValueError(_unequal(name, theirs, mine))


def refuse_other_logits(term: Any, student: Outputs, teacher: Outputs) -> None:
    """The same for what a term is about to compare; a single logit would be taken for each of several, silently.

    Raises:
        ValueError: when the widths differ.
    """
    if type(teacher) is Outputs and reads_logits(term):  # where there is no teacher the term says so
        mine, theirs = student.logits.shape[-1], teacher.logits.shape[-1]
        if mine != theirs:
            raise ValueError(_unequal(getattr(term, "teacher", None), theirs, mine))


def reads_logits(term: Any) -> bool:
    """Whether a term compares logits for certain: one that reads layers may do without them."""
    return not getattr(term, "teacher_layers", ())


def refuse_labels_of_fit(labels: Any, held_out: Any, classes: int | None) -> None:
    """The labels that a fit learns, and those of its `validation_data`, as `refuse_other_labels` compares them."""
    refuse_other_labels(labels, classes)
    if isinstance(held_out, tuple) and len(held_out) > 1:
        refuse_other_labels(held_out[1], classes)


def refuse_other_labels(labels: Any, classes: int | None) -> None:
    """Compare labels that lie in memory with the width of the student's logits.

    Args:
        labels: what `fit` is given: an array or tensor, (images,), (images, 1) or (images, classes). Anything else,
            such as a loader, is let pass.
        classes: of the student; None lets all pass.

    Raises:
        ValueError: for a label that is no class, or rows that are no shares of the classes.
    """
    if classes is None or not isinstance(labels, np.ndarray | torch.Tensor) or not len(labels):
        return
    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        if values.dtype.kind not in "iufb" or not (values == np.floor(values)).all() or values.min() < -1:
            raise ValueError(
                f"Labels are whole numbers from 0 to {classes - 1}, or -1 for an image without one. Received: "
                f"{_odd_label(values)!r}"
            )
        if (greatest := int(values.max())) >= classes:
            raise ValueError(
                f"The labels go up to {greatest}, and the student has {classes} outputs: labels are 0 to {classes - 1}."
            )
        return
    if values.shape != (len(values), classes):
        raise ValueError(
            f"Labels are (images,) or, as shares, (images, {classes}): the student has {classes} outputs. Received: "
            f"{tuple(values.shape)}"
        )
    sums = values.sum(1)
    if (wrong := (sums > 0) & (np.abs(sums - 1) > 1e-3)).any():
        raise ValueError(
            "Labels that are rows give each class a share, and a row sums to 1, or to 0 where an image has no label; "
            f"no image is of several classes at once. Received: a row that sums to {sums[wrong][0]:g}"
        )


def _odd_label(values: Any) -> Any:
    """The first of some labels that is none."""
    flat = values.reshape(-1)
    if values.dtype.kind not in "iufb":
        return flat[0]
    return flat[~(flat == np.floor(flat)) | (flat < -1)][0].item()


def _hears(term: Any, name: str) -> bool:
    named = getattr(term, "teacher", None)
    return not isinstance(named, str) or named == name


def _unequal(name: Any, theirs: int | None, mine: int | None) -> str:
    who = f"The teacher {name!r}" if isinstance(name, str) and name != "teacher" else "The teacher"
    end = f" And {_ONE_OUTPUT}" if theirs == 1 else ""
    return (
        f"{who} gives {theirs} logits, and the student {mine}: both need one logit for each class, in the same order."
        f"{end}"
    )


_ONE_OUTPUT = (
    "two classes take two logits: let a network that gives the one logit z of a sigmoid give "
    "keras.ops.concatenate([0 * z, z], -1), which says the same."
)
