"""What the gradients of a loss's parts tell: a term that nobody hears, or one that drowns the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FAINT = 1e-6  # of the label loss's gradient: nothing, to float32
LOUD = 100.0  # times the label loss's gradient
OF_ROW = "gradient_"  # before a part's name in a row of the history
OF_WEIGHT = "weight_"  # before a term's name in a row: the mean over the epoch of its weight, where that changes
LABEL_LOSS = "label_loss"

Pair = tuple[float, float | None]  # norms of a term's gradient and of the label loss's, None where there is none


def measured_gradients(row: Mapping[str, Any]) -> dict[str, float]:
    """What a row of the history holds of gradients: by part, the norm; empty where the epoch was not measured."""
    return {key.removeprefix(OF_ROW): float(value) for key, value in row.items() if key.startswith(OF_ROW)}


def pairs_of(measured: Sequence[Mapping[str, float]]) -> dict[str, list[Pair]]:
    """By term, each measurement's norms of it and of the label loss."""
    pairs: dict[str, list[Pair]] = {}
    for one in measured:
        for name, norm in one.items():
            if name != LABEL_LOSS:
                pairs.setdefault(name, []).append((norm, one.get(LABEL_LOSS)))
    return pairs


def unheard(term: str, pairs: Sequence[Pair], label_weight: float) -> str:
    """A sentence where a term's gradient is zero, or lost beside the labels', whenever it was measured; else empty.

    Args:
        term: its name.
        pairs: as measured; the term's with its weight, the label loss's with `label_weight`, or with 1 where that is 0.
        label_weight: the recipe's.
    """
    if not pairs or any(own > FAINT * (labels or 0.0) for own, labels in pairs):
        return ""
    largest = max((own / labels for own, labels in pairs if labels), default=0.0)
    beside = "" if label_weight else " with a weight of 1"
    found = f"at most {largest:.0e} of the label loss's{beside}" if largest else "zero"
    return (
        f"The term {term!r} does not move the student: its gradient is {found}. Look at its weight, at its "
        "temperature, and at whether what it compares differs at all."
    )


def drowning(term: str, pairs: Sequence[Pair], label_weight: float) -> str:
    """A sentence where a term's gradient is more than 100 times the label loss's whenever it was measured; else empty.

    With a `label_weight` of 0 there is nothing to drown. The arguments are those of `unheard`.
    """
    ratios = [own / labels for own, labels in pairs if labels]
    if not label_weight or not ratios or min(ratios) <= LOUD:
        return ""
    return (
        f"The gradient of the term {term!r} is {min(ratios):,.0f} times the label loss's or more: the labels are "
        "hardly heard. Give the term a smaller weight."
    )
