"""The optimiser that a recipe describes: weight decay, accumulation, and a head that learns faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import flat_layers, maker_of, own_trainable, sources_of
from kdrecipes.recipe.tables import TrainTable
from kdrecipes.training.schedule import learning_rate


def build_optimizer(
    train: TrainTable, steps: int, *, examples: int = 0, model: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """The optimiser of a fit, not yet built.

    Args:
        train: `[train]` or `[teacher.train]`.
        steps: batches that the fit will see.
        examples: of the train split, which BiT-HyperRule goes by.
        model: the network that learns; needed where decay is for kernels alone.
    """
    table = train.optimizer
    kind = {"adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[table.name]
    options = dict(table.options)
    if table.weight_decay is not None:
        options["weight_decay"] = table.weight_decay or (0.0 if kind is keras.optimizers.AdamW else None)
    if train.accumulate and train.accumulate > 1:
        options["gradient_accumulation_steps"] = train.accumulate
    rate = learning_rate(table.learning_rate, train.schedule, steps, examples)
    optimizer = kind(learning_rate=rate, global_clipnorm=train.clip_norm, **options)
    if table.weight_decay_on == "kernels" and model is not None:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if not is_kernel(v)])
    return keras.optimizers.LossScaleOptimizer(optimizer) if train.precision == "float16" else optimizer


def is_kernel(variable: keras.Variable) -> bool:
    """Whether a variable is a matrix or a convolution's kernel, and no bias, scale or offset: two axes or more."""
    return len(variable.shape) > 1


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
        tensor = tensors.pop(0)
        operation = maker_of(tensor)
        if isinstance(operation, keras.Model) and operation.trainable_variables:
            return head_of(operation)
        if isinstance(operation, keras.layers.TorchModuleWrapper):
            raise ValueError("head_learning_rate_factor: which layer of a torch module is its head can't be told.")
        if getattr(operation, "trainable_variables", None):
            return list(operation.trainable_variables)
        tensors += sources_of(tensor)
    trained = [layer for layer in flat_layers(model)[1:] if own_trainable(layer)]
    return list(own_trainable(trained[-1]))
