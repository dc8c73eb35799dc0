"""What several teachers say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch

TOGETHER = ("probabilities", "logits")


def ensemble_logits(
    logits: Sequence[torch.Tensor], weights: Sequence[float], how: str = "probabilities"
) -> torch.Tensor:
    """The logits of several teachers as one.

    Args:
        logits: of each teacher, at least float32, (batch, classes).
        weights: of each teacher, above 0; only their proportions count.
        how: "probabilities": the logarithm of the weighted mean of their probabilities at T = 1, rows whose
            exponentials sum to 1; "logits": the weighted mean of their logits.

    Returns:
        (batch, classes), in the widest of the dtypes; of one teacher its logits, untouched.
    """
    if len(logits) == 1:
        return logits[0]
    dtype, total = reduce(torch.promote_types, [one.dtype for one in logits]), math.fsum(weights)
    pairs = [(weight, one.to(dtype)) for weight, one in zip(weights, logits, strict=True)]
    if how == "logits":
        return torch.stack([weight / total * one for weight, one in pairs]).sum(0)
    parts = [one.log_softmax(-1) + (math.log(weight) - math.log(total)) for weight, one in pairs]
    return torch.stack(parts).logsumexp(0)
