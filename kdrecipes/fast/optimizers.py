"""Adam and AdamW of Keras in torch's fused kernel, on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import decay_rule, moments_of, optimized, place_finder, replace_update


def accelerate_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Let torch's fused kernel do the updates of a built Adam or AdamW on a CPU, in place; others stay as they are.

    Keras adds epsilon to the root of the moving square before the correction of its bias, torch after it; so torch is
    given epsilon / √(1 − β₂ᵗ), which makes the two the same formula (Kingma & Ba, arXiv:1412.6980, end of section 2).

    Args:
        optimizer: built, on float32 variables.

    Returns:
        The same optimiser.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    variables = optimized(inner)
    plain = all(v.value.device.type == "cpu" and v.value.dtype == torch.float32 for v in variables)
    if not isinstance(inner, keras.optimizers.Adam) or inner.amsgrad or not plain:
        return optimizer
    # The kernel walks memory: gradients and moments have to lie as their variables do.
    for variable, *moments in zip(variables, *moments_of(inner), strict=True):
        for moment in moments:
            moment.value.data = torch.empty_like(variable.value.data).copy_(moment.value.data)
    replace_update(inner, _fused_update(inner))
    return optimizer


def _fused_update(adam: keras.optimizers.Adam) -> Callable[[list[torch.Tensor], list[Any], Any], None]:
    """From gradients, variables and the learning rate to one update of a built Adam's variables and moments."""
    means, squares = moments_of(adam)
    decay, decays, place_of = adam.weight_decay or 0.0, decay_rule(adam), place_finder(adam)
    step = torch.zeros(())

    @torch.no_grad()
    def update(gradients: list[torch.Tensor], changed: list[Any], learning_rate: Any) -> None:
        done = int(adam.iterations) + 1  # updates, where gradients are accumulated over several steps
        step.fill_(done)
        groups: dict[float, list[int]] = {}
        for i, variable in enumerate(changed):
            groups.setdefault(decay if decay and decays(variable) else 0.0, []).append(i)
        for rate, members in groups.items():
            values = [changed[i].value for i in members]
            places = [place_of(changed[i]) for i in members]
            torch._fused_adamw_(
                values,
                [_lie_alike(gradients[i], value) for i, value in zip(members, values, strict=True)],
                [means[place].value for place in places],
                [squares[place].value for place in places],
                [],
                [step] * len(members),
                lr=float(learning_rate),
                beta1=adam.beta_1,
                beta2=adam.beta_2,
                weight_decay=rate,
                eps=adam.epsilon / math.sqrt(1 - adam.beta_2**done),
                amsgrad=False,
                maximize=False,
            )

    return update


def _lie_alike(gradient: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return gradient if gradient.stride() == value.stride() else torch.empty_like(value).copy_(gradient)
