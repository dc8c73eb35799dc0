"""Labels as a term reads them: one class for each example, also where a label is mixed or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def known(labels: torch.Tensor) -> torch.Tensor:
    """bool (batch,): which examples have a label; -1, or a row of zeros, is none."""
    return labels >= 0 if labels.ndim == 1 else labels.sum(-1) > 0


def classes_of(labels: torch.Tensor | None, teacher_logits: torch.Tensor) -> torch.Tensor:
    """int64 (batch,): the class of each example.

    A mixed label counts as the class of its largest share. Where an example has no label the class that the teacher
    thinks most probable stands in for it.

    Args:
        labels: int64 (batch,) with -1 for none; float (batch, classes) with a row of zeros for none; or None.
        teacher_logits: (batch, classes).
    """
    guessed = teacher_logits.argmax(-1)
    if labels is None:
        return guessed
    if labels.ndim == 2:
        return labels.argmax(-1).where(known(labels), guessed)
    return labels.where(known(labels), guessed)
