"""What a step of the distiller needs of every layer, gathered once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import added_losses, flat_layers


@dataclass
class Parts:
    """What Keras would gather by a walk through all layers, several times a step."""

    variables: list[Any]
    layers: list[Any]
    metrics: list[Any]

    @staticmethod
    def of(model: keras.Model) -> Parts:
        """Those of a model as it is now."""
        return Parts(model.trainable_weights[:], flat_layers(model), model.metrics)

    def gradients(self, optimizer: keras.optimizers.Optimizer, total: torch.Tensor) -> list[torch.Tensor | None]:
        """Those of the whole loss, as the optimiser scales it."""
        values = [variable.value for variable in self.variables]
        for value in values:  # Keras' zero_grad misses variables that share a path with another
            value.grad = None
        optimizer.scale_loss(total).backward()
        return [value.grad for value in values]

    def update(self, optimizer: keras.optimizers.Optimizer, gradients: Sequence[torch.Tensor | None]) -> None:
        """One step of the optimiser down the gradients."""
        with torch.no_grad():
            optimizer.apply(gradients, self.variables)

    def losses(self) -> list[torch.Tensor]:
        """As `keras.Model.losses`: of layers' `add_loss` and of regularisers."""
        return added_losses(self.layers) + [v.regularizer(v) for v in self.variables if v.regularizer is not None]

    def results(self, compiled: Any) -> dict[str, Any]:
        """The metrics' values by name; what was compiled, which is one metric, has none before it met a label."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            if metric is not compiled:
                results[metric.name] = metric.result()
            elif compiled.built:
                results.update(metric.result())
        return results
