"""Metrics as a step pays for them: running means in two torch operations."""

from __future__ import annotations

from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.training.batches import known, labels_of, mean_over_labelled


class RunningMean(keras.metrics.Mean):
    """Mean over examples of what is a mean over a batch already; the same figure as `keras.metrics.Mean`.

    `update_state(value, n)` takes the batch's mean, a scalar tensor, and its number of examples; a tensor where that
    is known on the device alone, so that nothing waits for it.
    """

    def update_state(self, value: torch.Tensor, sample_weight: int | torch.Tensor = 1) -> None:  # type: ignore[override]
        """Add a batch: its mean and its number of examples."""
        with torch.no_grad():
            if isinstance(sample_weight, torch.Tensor):
                self.total.value.addcmul_(value, sample_weight.to(value.dtype))
            else:
                self.total.value.add_(value, alpha=sample_weight)
            self.count.value.add_(sample_weight)

    def result(self) -> Any:
        """The mean so far, a scalar tensor; 0 before the first batch."""
        return self.total.value / self.count.value.clamp(min=1)


class Accuracy(RunningMean):
    """Share of examples whose largest logit is their label's; of a mixed label its largest share counts.

    Examples without a label, -1 or a row of zeros, do not count.

    Keras' own settles at the first batch whether labels are numbers or shares; where training mixes examples and
    validation does not, that is wrong for one of them.
    """

    def __init__(self, name: str = "accuracy"):
        super().__init__(name=name)

    def update_state(self, y_true: Any, y_pred: torch.Tensor, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add a batch: labels int64 (batch,) or float (batch, classes), and logits; each example counts alike."""
        labels = labels_of(y_true, y_pred)
        assert labels is not None
        labelled = known(labels)
        labels = labels if labels.ndim == 1 else labels.argmax(-1)
        super().update_state(*mean_over_labelled((labels == y_pred.argmax(-1)).float(), labelled, None))


def know_what_no_label_is(given: Any) -> bool:
    """Whether all metrics that `compile` was given, None and lists among them, leave out examples without a label.

    For others each step waits for the device to say which examples have one.
    """
    return all(metric is None or isinstance(metric, Accuracy) for metric in keras.tree.flatten(given))
