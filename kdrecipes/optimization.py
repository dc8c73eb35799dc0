"""The optimiser that a recipe describes: schedules, weight decay, accumulation, and a head that learns faster."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras

# BiT-HyperRule (arXiv:1912.11370, section 3.3; its published code): up to so many examples, the ends of the warm-up and
# of the three stretches between decays, as shares of all steps.
_HYPERRULE = (
    (20_000, (0.2, 0.4, 0.6, 0.8)),
    (500_000, (0.05, 0.3, 0.6, 0.9)),
    (math.inf, (0.025, 0.3, 0.6, 0.9)),
)


def build_optimizer(
    train: Mapping[str, Any], steps: int, *, examples: int = 0, model: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """The optimiser of a fit, not yet built.

    Args:
        train: the resolved `[train]` or `[teacher.train]`.
        steps: batches that the fit will see.
        examples: of the train split, which BiT-HyperRule goes by.
        model: the network that learns; needed where decay is for kernels alone.
    """
    options = dict(train["optimizer"])
    options["learning_rate"] = _rate(options["learning_rate"], train["schedule"], steps, examples)
    kinds = {"adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    kind = kinds[options.pop("name")]
    decayed = options.pop("weight_decay_on", "all")
    if not options.get("weight_decay", 1):
        options["weight_decay"] = None if kind is not keras.optimizers.AdamW else 0.0
    if train.get("accumulate", 1) > 1:
        options["gradient_accumulation_steps"] = train["accumulate"]
    optimizer = kind(global_clipnorm=train.get("clip_norm"), **options)
    if decayed == "kernels" and model is not None:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if not is_kernel(v)])
    return keras.optimizers.LossScaleOptimizer(optimizer) if train.get("precision") == "float16" else optimizer


def is_kernel(variable: keras.Variable) -> bool:
    """Whether a variable is a matrix or a convolution's kernel, and no bias, scale or offset: two axes or more."""
    return len(variable.shape) > 1


def _rate(peak: float, schedule: Mapping[str, Any], steps: int, examples: int) -> Any:
    """The learning rate by step: a number, or a Keras schedule."""
    if schedule["name"] == "bit_hyperrule":
        return HyperRule(peak, steps, examples)
    if schedule["name"] not in ("warmup_cosine", "one_cycle"):
        return peak
    start, end = peak * schedule.get("start", 0.0), schedule.get("end", 0.0)
    warmup = round(schedule["warmup"] * steps)
    decay = max(1, steps - warmup)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(peak, decay, alpha=end)
    return keras.optimizers.schedules.CosineDecay(start, decay, alpha=end, warmup_target=peak, warmup_steps=warmup)


class HyperRule(keras.optimizers.schedules.LearningRateSchedule):
    """BiT-HyperRule: a linear rise from 0, then a tenth of the rate after each of three stretches.

    The published lengths (100 to 500 warm-up steps of 500 to 20,000) are taken as shares of the fit's own.

    Args:
        peak: the learning rate after the warm-up; the paper's is 0.003 for a batch of 512.
        steps: of the fit.
        examples: of the train split: up to 20,000, up to 500,000 or more.
    """

    def __init__(self, peak: float, steps: int, examples: int):
        super().__init__()
        self.peak, self.steps, self.examples = peak, steps, examples
        self.ends = [round(share * steps) for share in next(ends for n, ends in _HYPERRULE if examples <= n)]

    def __call__(self, step: Any) -> float:
        """The learning rate at a step, counted from 0."""
        now, (warmup, *decays) = int(step), self.ends
        if now < warmup:
            return self.peak * now / warmup
        return self.peak * 0.1 ** sum(now >= end for end in decays)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"peak": self.peak, "steps": self.steps, "examples": self.examples}


def scale_updates(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable], factor: float) -> None:
    """Let some variables move `factor` times as far in every step, as a learning rate of their own does; in place.

    Args:
        optimizer: any of Keras'; weight decay, which goes with the learning rate, is scaled too.
        variables: which.
        factor: above 0.
    """
    apply: Callable[..., None] = optimizer.apply
    values = [variable.value for variable in variables]

    @torch.no_grad()
    def scaled(grads: Any, trainable_variables: Any = None) -> None:
        before = [value.detach().clone() for value in values]
        apply(grads, trainable_variables)
        for value, old in zip(values, before, strict=True):
            value.copy_(old + factor * (value - old))

    optimizer.__dict__["apply"] = scaled


def head_of(model: keras.Model) -> list[keras.Variable]:
    """The variables of the last layer that has any to train: what gives out the logits.

    In a graph of layers that is the first one met from its output backwards, inside a model within it too.

    Raises:
        ValueError: for a torch module.
    """
    tensors = list(model.outputs) if isinstance(model, keras.Model) and hasattr(model, "outputs") else []
    while tensors:
        operation, node, _ = tensors.pop(0)._keras_history
        if isinstance(operation, keras.Model) and operation.trainable_variables:
            return head_of(operation)
        if isinstance(operation, keras.layers.TorchModuleWrapper):
            raise ValueError("head_learning_rate_factor: which layer of a torch module is its head can't be told.")
        if getattr(operation, "trainable_variables", None):
            return list(operation.trainable_variables)
        tensors += operation._inbound_nodes[node].input_tensors
    trained = [layer for layer in model._flatten_layers(include_self=False) if layer._trainable_variables]
    return list(trained[-1]._trainable_variables)
