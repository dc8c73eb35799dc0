"""A loss or a gradient that is no number stops a fit at its step; weights that are none are never saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import current_device, keras
from kdrecipes.errors import RunError

TOGETHER = 50  # steps that are looked at together where a look waits for the device
_TOLD = 8  # examples that a message names
_MEND = "A lower learning_rate, or clip_norm = 1.0 under [train], usually mends this."


class NotFinite(RunError):
    """A step's loss or gradient is no number, or a weight after it (exit code 1).

    Attributes:
        fit: its label.
        epoch, step: which step, both counted from 1.
    """

    def __init__(self, message: str, fit: str, epoch: int, step: int):
        super().__init__(message)
        self.fit, self.epoch, self.step = fit, epoch, step


@dataclass(frozen=True)
class StepFacts:
    """What a step computed, still on its device, before it changes any weight.

    Attributes:
        total: the whole loss, a scalar.
        parts: the label loss and the terms by name, each (batch,) or a scalar, unweighed; None where there is none.
        index: int64 (batch,), which examples; None where the data do not say.
        gradients: of the whole loss, scaled as the optimiser does.
    """

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor | None]
    index: torch.Tensor | None
    gradients: Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class _Kept:
    """What is kept of a step until it is looked at; `figures` holds the whole loss, then each gradient's norm."""

    epoch: int
    step: int
    figures: torch.Tensor
    parts: Mapping[str, torch.Tensor | None]
    index: torch.Tensor | None


class FiniteWatch(keras.callbacks.Callback):
    """Stops a fit at the first step whose loss or gradient is not finite.

    On the CPU each step is looked at before it changes a weight. Elsewhere a look waits for the device: so it comes
    after 50 steps, and at the end of an epoch, before its state is saved.

    Args:
        label: names the fit.
        rate: from a step, counted from 0, to the learning rate.
        steps: batches in an epoch.
        name: from an example's place in a batch's index to its name.
        gradients: whether gradients count: those of float16 may overflow, and then the optimiser leaves the step out.
        together: steps that are looked at together. Default: 1 on the CPU, 50 elsewhere.
    """

    def __init__(
        self,
        label: str,
        rate: Callable[[int], float],
        steps: int,
        name: Callable[[int], str] = str,
        *,
        gradients: bool = True,
        together: int | None = None,
    ):
        super().__init__()
        self.together = together or (1 if current_device().startswith("cpu") else TOGETHER)
        self.label, self.rate, self.steps, self.name, self.gradients = label, rate, steps, name, gradients
        self.epoch = self.step = 0
        self._waiting: list[_Kept] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.step = epoch, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.step = batch  # a fit may go on in the middle of an epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.look()

    def __call__(self, facts: StepFacts) -> None:
        """Take note of a step.

        Raises:
            NotFinite: when it, or one before it, is not finite.
        """
        figures = [facts.total.detach()]
        if self.gradients and any(one is not None for one in facts.gradients):
            # A norm is no number where one of its parts is none, and the cheapest thing to find that out by.
            figures += torch._foreach_norm([one for one in facts.gradients if one is not None])
        self.step += 1
        parts = {name: None if one is None else one.detach() for name, one in facts.parts.items()}
        self._waiting.append(_Kept(self.epoch, self.step, torch.stack(figures), parts, facts.index))
        if len(self._waiting) >= self.together:
            self.look()

    def look(self) -> None:
        """Look at the steps that were noted and not looked at yet.

        Raises:
            NotFinite: when one is not finite.
        """
        waiting, self._waiting = self._waiting, []
        figures = [one.figures for one in waiting]
        if figures and not math.isfinite((figures[0] if len(figures) == 1 else torch.cat(figures)).sum()):
            for one in waiting:
                if not one.figures.isfinite().all():
                    raise NotFinite(self._told(one), self.label, one.epoch + 1, one.step)

    def rate_in(self, epoch: int, step: int) -> float:
        """The learning rate of a step of an epoch, both counted from 1."""
        return self.rate((epoch - 1) * self.steps + step - 1)

    def _told(self, step: _Kept) -> str:
        loss = float(step.figures[0])
        what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient of the loss is not finite"
        means = [f"{name} {float(one.mean()):.4g}" for name, one in step.parts.items() if one is not None]
        rate = self.rate_in(step.epoch + 1, step.step)
        return (
            f"{self.label}: {what} in step {step.step} of epoch {step.epoch + 1}, at a learning rate of {rate:.3g}; "
            f"its parts are {', '.join(means)}; {self._examples(step)}. {_MEND} Nothing of it was saved; the state "
            "before it is kept."
        )

    def _examples(self, step: _Kept) -> str:
        """The examples whose values are not finite, or all of the batch where the values of all are."""
        bad = not_finite(step.parts)
        if step.index is None:
            return f"{len(bad)} examples of its batch are not finite"
        index = step.index.tolist()
        chosen = [index[i] for i in bad] or index
        more = f" and {len(chosen) - _TOLD} more" if len(chosen) > _TOLD else ""
        which = "the examples that are not finite are" if bad else "the examples of its batch are"
        return f"{which} {', '.join(map(self.name, chosen[:_TOLD]))}{more}"


def not_finite(parts: Mapping[str, torch.Tensor | None]) -> list[int]:
    """The places in a batch of the examples for which one of `StepFacts.parts` is no number."""
    rows = [one for one in parts.values() if one is not None and one.ndim == 1]
    return [i for i in range(max(map(len, rows), default=0)) if not all(bool(one[i].isfinite()) for one in rows)]


def refuse_infinite(label: str, variables: Sequence[Any], arrays: Sequence[np.ndarray], epoch: int, step: int) -> None:
    """Refuse to save weights that are no numbers.

    Args:
        label: names the fit.
        variables: whose values the arrays are.
        arrays: of any dtype.
        epoch, step: the last step that was taken, both counted from 1.

    Raises:
        NotFinite: naming the first of them.
    """
    for variable, array in zip(variables, arrays, strict=True):
        # A torch module's buffer may be infinite from the start. In float64 no sum of float32 overflows.
        weights = isinstance(variable, keras.Variable) and array.dtype.kind == "f"
        if weights and not math.isfinite(array.sum(dtype=np.float64)):
            raise NotFinite(
                f"{label}: the weights {variable.path} are not finite after step {step} of epoch {epoch}. {_MEND} They "
                "were not saved.",
                label,
                epoch,
                step,
            )
