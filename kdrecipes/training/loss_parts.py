"""The parts of a distiller's loss: their means over a batch, how they add up, and the metrics that are told them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kdrecipes.training.batches import known, labels_of, mean_over_examples, mean_over_labelled
from kdrecipes.training.metrics import RunningMean


class LossParts:
    """The label loss and the terms, weighed.

    Args:
        label_weight: of the label loss.
        weights: of the terms.
        names: of the terms' metrics.

    Attributes:
        metrics: the means so far, unweighed: `label_loss`, then the terms'.
    """

    def __init__(self, label_weight: float, weights: Sequence[float], names: Sequence[str]):
        self.label_weight, self.weights = float(label_weight), list(weights)
        self.metrics = [RunningMean(name=name) for name in ("label_loss", *names)]

    def total(
        self,
        own: torch.Tensor | None,
        values: Sequence[torch.Tensor],
        y: Any,
        logits: torch.Tensor,
        sample_weight: torch.Tensor | None,
    ) -> torch.Tensor:
        """The weighed sum, a scalar, of the parts' means over a batch; each mean is told to its metric.

        Args:
            own: the cross-entropy with the labels, (batch,); None where the data have none.
            values: of each term, (batch,) or a scalar.
            y: the batch's labels, which tell what of it has one.
            logits: (batch, classes), of the student.
            sample_weight: (batch,), or None.

        Raises:
            ValueError: when labels have a weight and the data no labels.
        """
        label_loss, *terms = self.metrics
        total = torch.zeros((), device=logits.device)
        if own is not None:
            labels: Any = labels_of(y, logits)
            mean, labelled = mean_over_labelled(own, known(labels), sample_weight)
            label_loss.update_state(mean.detach(), sample_weight=labelled)
            total = total + self.label_weight * mean
        elif self.label_weight:
            raise ValueError("The data have no labels. Set label_weight=0, or give labels.")
        for value, weight, metric in zip(values, self.weights, terms, strict=True):
            mean = mean_over_examples(value, sample_weight)
            metric.update_state(mean.detach(), sample_weight=logits.shape[0])
            total = total + weight * mean
        return total
