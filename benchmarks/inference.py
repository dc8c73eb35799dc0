"""Row 3: a frozen teacher's logits, stock Keras ÷ kdrecipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.allocator import as_glibc_has_it
from benchmarks.networks import TITLES, batch_of, build, frozen
from benchmarks.rows import Figures, Row, Setting, row_of
from benchmarks.timing import interleave, milliseconds, per_second, ratio

CASES = [("resnet50_v2", 64), ("resnet50_v2", 96), ("efficientnet_b0", 64), ("efficientnet_b0", 96)]


def measure(setting: Setting) -> list[Row]:
    """A row for each network and size."""
    cases = setting.choose(CASES, [("resnet50_v2", 32)], [("resnet50_v2", 224)])
    return [_measure(network, size, setting) for network, size in cases]


def _measure(network: str, size: int, setting: Setting) -> Row:
    count = setting.choose(128, 4)
    images, _ = batch_of(count, size)
    stock = build(network, size, setting.precision)
    ours = frozen(build(network, size), setting.precision)
    # `predict` makes the same call of the model, under no_grad too.
    candidates = {
        "stock": as_glibc_has_it(_without_gradients(lambda: stock(images, training=False))),
        "kdrecipes": _without_gradients(lambda: ours(images)),
    }
    times = interleave(candidates, setting.choose(11, 2), warm_up=setting.choose(2, 1), settle=1)
    figures: Figures = {f"{name}_ms": milliseconds(seconds) for name, seconds in times.items()}
    return row_of(
        3,
        f"frozen teacher inference, stock Keras ÷ kdrecipes: {TITLES[network]} {size} px",
        ratio(times["stock"], times["kdrecipes"]),
        "at least",
        2.0,
        4.0,
        batch=count,
        images_per_second=per_second(count, times["kdrecipes"]),
        **figures,
    )


def _without_gradients(call: Callable[[], Any]) -> Callable[[], Any]:
    return torch.no_grad()(call)
