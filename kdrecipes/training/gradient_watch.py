"""How much each part of the loss moves the student: norms of gradients at the first step of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.gradients import LABEL_LOSS, OF_ROW, drowning, pairs_of, unheard
from kdrecipes.keras_private import flat_layers, is_rematerialized
from kdrecipes.training.batches import known, mean_over_examples, mean_over_labelled
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.learner import names_of

STEPS_FOR_ONE = 100  # a pass back through the student is less than a step: so it costs less than 1 % of the training


class GradientWatch(keras.callbacks.Callback):
    """Measures at the first step of the first epoch, and of later ones as often as costs less than 1 %.

    Gradients are those of the step itself, taken once more through what the step has computed, so nothing of the
    training changes. Where every term reads logits alone they are with respect to the student's logits, which costs
    nothing; else with respect to its weights. Sample weights are left out of both.

    Args:
        distiller: what is trained; it has terms.
        label: names the fit.
        tell: gets a line for each term that is unheard or drowns the labels at the very first step.

    Attributes:
        figures: of this epoch, by part: norms, each with the part's weight in force, and absent where a schedule makes
            that 0; `gradient_label_loss` is with a weight of 1 where `label_weight` is 0, and absent where no example
            of the batch has a label.
    """

    def __init__(self, distiller: Distiller, label: str, tell: Callable[[str], None]):
        super().__init__()
        self.distiller, self.label, self.tell = distiller, label, tell
        self.figures: dict[str, float] = {}
        self.epoch = 0
        # Made anew in each pass back, such layers would update their statistics once more.
        self.passes = len(distiller.terms) + 1 if distiller.learner.taps else 0
        self.able = not (self.passes and any(map(is_rematerialized, flat_layers(distiller.student))))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.figures = epoch, {}
        if self.able and due(epoch, self.params.get("steps") or 0, self.passes):
            self.distiller.learner.listener = self._measure

    def go_on(self, figures: dict[str, float]) -> None:
        """Take over the figures of an epoch whose first step is done."""
        self.figures, self.distiller.learner.listener = figures, None

    def on_train_end(self, logs: Any = None) -> None:
        self.distiller.learner.listener = None

    def _measure(self, logits: torch.Tensor, labels: Any, own: torch.Tensor | None, values: Sequence[Any]) -> None:
        """Take the figures of this step; a term that can't be differentiated twice is left as it is."""
        learner, scale = self.distiller.learner, self.distiller.optimizer.scale_loss
        learner.listener = None
        parts: dict[str, torch.Tensor] = {}
        if own is not None and bool((labelled := known(labels)).any()):
            parts[LABEL_LOSS] = (self.distiller.label_weight or 1.0) * mean_over_labelled(own, labelled, None)[0]
        weighed = zip(learner.terms, self.distiller.term_weights, self.distiller.loss_parts.changes, strict=True)
        for name, (term, weight, changes), value in zip(names_of(learner.terms), weighed, values, strict=True):
            # One with a schedule may begin with nothing, or end with it.
            if (self.epoch or not hasattr(term, "at")) and (weight or not changes):
                parts[name] = weight * mean_over_examples(value, None)
        targets = [v.value for v in learner.student.trainable_variables] if learner.taps else [logits]
        factor = float(scale(torch.ones((), device=logits.device)))
        try:
            found = {name: norm(scale(part), targets) / factor for name, part in parts.items()}
        except RuntimeError:  # of a plugin's own backward pass
            self.able = False
            return
        found = {name: value for name, value in found.items() if math.isfinite(value)}
        self.figures = {f"{OF_ROW}{name}": value for name, value in found.items()}
        if self.epoch == 0:
            for name, pairs in pairs_of([found]).items():
                for text in (judge(name, pairs, self.distiller.label_weight) for judge in (unheard, drowning)):
                    if text:
                        self.tell(f"{self.label}: {text}")


def due(epoch: int, steps: int, passes: int) -> bool:
    """Whether an epoch, from 0, is measured: the first, and then once in 100 steps for each pass back that it takes."""
    if epoch == 0 or not passes:
        return True
    each = STEPS_FOR_ONE * passes
    return epoch * steps // each > (epoch - 1) * steps // each


def norm(value: torch.Tensor, targets: Sequence[torch.Tensor]) -> float:
    """The Euclidean norm of a scalar's gradient with respect to some tensors together; 0 where it depends on none."""
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, targets, retain_graph=True, allow_unused=True)
    squares = [torch.linalg.vector_norm(one.float()) ** 2 for one in gradients if one is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
