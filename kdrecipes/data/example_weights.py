"""How much each example of a batch counts in the loss: its own weight, as the store has it, and its class's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kdrecipes.data.examples import Stored


def batch_weights(
    parts: Sequence[Stored], labels: torch.Tensor, class_weight: np.ndarray | None, weighted: bool
) -> torch.Tensor | None:
    """float32 (batch,): the weight of each example times that of its class; None where all count alike.

    What is mixed weighs what its two examples and its labels do, by their shares. An example without a label has no
    class's weight.

    Args:
        parts: a batch's examples, as they were read.
        labels: int64 (batch,) or float (batch, classes), as they are shown.
        class_weight: float (classes,).
        weighted: whether the examples' own weights count.
    """
    weights = None if class_weight is None else _of_classes(torch.from_numpy(class_weight), labels)
    if not weighted:
        return weights
    own = torch.cat([_of_examples(part) for part in parts])
    return own if weights is None else own * weights


def _of_classes(weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """float32 (batch,): the weights of examples by those of classes; 1 where the label is not known."""
    if y.ndim == 1:
        return torch.where(y >= 0, weight[y], 1.0).float()
    return torch.where(y.sum(1) > 0, y.to(weight.dtype) @ weight, 1.0).float()


def _of_examples(part: Stored) -> torch.Tensor:
    """float32 (examples of the part,): their own weights; 1 where their source says none."""
    weights = torch.ones(len(part.labels)) if part.weights is None else torch.from_numpy(part.weights)
    if part.shares is None:
        return weights
    mine, others = weights.chunk(2)
    return mine.lerp(others, 1 - torch.from_numpy(part.shares.astype(np.float32)))
