"""What terms on logits share: how they read both networks' logits, and divergences over some of the classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


def logits_of(student: Outputs, teacher: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of student and teacher, (batch, classes), in float32 or wider; no gradient goes to the teacher."""
    mine, theirs = (z.float() if z.element_size() < 4 else z for z in (student.logits, teacher.logits.detach()))
    return mine, theirs


def divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q), (batch,), of the logarithms of probabilities, (batch, classes), all finite."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def of_class(values: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The value at one class of each example, (batch,).

    Args:
        values: (batch, classes).
        classes: int64 (batch,).
    """
    return values.gather(-1, classes[:, None])[:, 0]


def is_class(values: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """bool (batch, classes), True at one class of each example; arguments as in `of_class`."""
    return values.new_zeros(values.shape, dtype=bool).scatter_(-1, classes[:, None], True)  # type: ignore[call-overload, no-any-return]


def one_and_rest(log_p: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The logarithms of the probability of one class of each example and of all others together, (batch,) each.

    Nothing is subtracted from 1: where one class is all but certain the others keep their digits.

    Args:
        log_p: logarithms of probabilities, (batch, classes).
        classes: int64 (batch,).
    """
    rest = log_p.masked_fill(is_class(log_p, classes), -math.inf).logsumexp(-1)
    return of_class(log_p, classes), rest


def divergence_of_two(p: tuple[torch.Tensor, torch.Tensor], q: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """KL(p ‖ q), (batch,), of two outcomes, as `one_and_rest` gives them."""
    return p[0].exp() * (p[0] - q[0]) + p[1].exp() * (p[1] - q[1])


def log_softmax_within(logits: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The logarithm of a softmax over some of the classes, (batch, classes); 0 at the others.

    Args:
        logits: (batch, classes).
        kept: bool (batch, classes), True at one class of each example at least.
    """
    return logits.masked_fill(~kept, -math.inf).log_softmax(-1).masked_fill(~kept, 0)
