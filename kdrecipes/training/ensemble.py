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
    shares = [weight / total for weight in weights]
    if how == "logits":
        return torch.stack([share * one.to(dtype) for share, one in zip(shares, logits, strict=True)]).sum(0)
    parts = [one.to(dtype).log_softmax(-1) + math.log(share) for share, one in zip(shares, logits, strict=True)]
    return torch.stack(parts).logsumexp(0)
