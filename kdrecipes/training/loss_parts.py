"""The parts of a distiller's loss: their means over a batch, how they add up, and the metrics that are told them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kdrecipes.gradients import OF_WEIGHT
from kdrecipes.training.batches import known, labels_of, mean_over_examples, mean_over_labelled
from kdrecipes.training.metrics import RunningMean

Weight = float | Callable[[float], float]  # a number, or the weight by the share of the fit that is done, 0 to 1


def is_weight(value: Any) -> bool:
    """Whether a value is a weight: a number, 0 or more and finite."""
    return isinstance(value, int | float) and 0 <= value < math.inf


class LossParts:
    """The label loss and the terms, weighed.

    Args:
        label_weight: of the label loss.
        weights: of the terms: numbers, or functions of the share of the fit that is done.
        names: of the terms' metrics.

    Attributes:
        weights: of the terms, those in force at this step; outside a fit those of its beginning.
        changes: of each term whether its weight changes over a fit.
        metrics: the means so far: `label_loss` and the terms', unweighed; then `weight_` and the term's name for each
            weight that changes.
    """

    def __init__(self, label_weight: float, weights: Sequence[Weight], names: Sequence[str]):
        self.label_weight, self._given = float(label_weight), list(weights)
        self.changes = [callable(one) for one in weights]
        self.weights: list[float] = []
        self.at(0.0)
        changing = [f"{OF_WEIGHT}{name}" for name, changes in zip(names, self.changes, strict=True) if changes]
        self.metrics = [RunningMean(name=name) for name in ("label_loss", *names, *changing)]

    def at(self, share: float) -> None:
        """Put the weights in force that belong to a share of the fit, 0 to 1.

        Raises:
            ValueError: when a function gives what is no weight.
        """
        self.weights = [one(share) if callable(one) else float(one) for one in self._given]
        for weight in self.weights:
            if not is_weight(weight):
                raise ValueError(
                    f"`weight`: a number of 0 or more. Received: {weight!r} of its function, when {share:g} of the fit "
                    "was done."
                )

    def named(self, own: torch.Tensor | None, values: Sequence[torch.Tensor]) -> dict[str, torch.Tensor | None]:
        """The label loss and the terms' values, as `total` takes them, by the names of their metrics."""
        return dict(zip((metric.name for metric in self.metrics), (own, *values), strict=False))

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
        label_loss, *others = self.metrics
        terms, changing = others[: len(self.weights)], iter(others[len(self.weights) :])
        total = torch.zeros((), device=logits.device)
        if own is not None:
            labels: Any = labels_of(y, logits)
            mean, labelled = mean_over_labelled(own, known(labels), sample_weight)
            label_loss.update_state(mean.detach(), sample_weight=labelled)
            total = total + self.label_weight * mean
        elif self.label_weight:
            raise ValueError("The data have no labels. Set label_weight=0, or give labels.")
        for value, weight, changes, metric in zip(values, self.weights, self.changes, terms, strict=True):
            mean = mean_over_examples(value, sample_weight)
            metric.update_state(mean.detach(), sample_weight=logits.shape[0])
            if changes:
                next(changing).update_state(torch.full((), weight, device=logits.device))
            total = total + weight * mean
        return total
