"""Row 8: the fixed cost of a step, kdrecipes with a teacher ÷ stock Keras on labels, on a network of two layers."""

from __future__ import annotations

import torch

from benchmarks.allocator import as_glibc_has_it
from benchmarks.networks import CLASSES, as_loaded, batch_of, distiller, step_of, stock, two_layers
from benchmarks.rows import Figures, Row, Setting, row_of
from benchmarks.timing import interleave, milliseconds, ratio


def measure(setting: Setting) -> list[Row]:
    """One row: its kd step finds the teacher's logits in the batch; the same with a live teacher stands beside."""
    size, count = 8, 32
    images, labels = batch_of(count, size)
    logits = torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(0)).to(images.device)
    cached, live = distiller(two_layers(size), kd=True), distiller(two_layers(size), two_layers(size), kd=True)
    candidates = {
        "stock": as_glibc_has_it(step_of(stock(two_layers(size)), images, labels)),
        "kdrecipes": step_of(cached, as_loaded(images, teacher=logits), labels),
        "kdrecipes_live_teacher": step_of(live, as_loaded(images), labels),
    }
    times = interleave(candidates, setting.choose(21, 3), steps=setting.choose(300, 20), warm_up=setting.choose(100, 5))
    figures: Figures = {f"{name}_ms": milliseconds(seconds) for name, seconds in times.items()}
    return [
        row_of(
            8,
            "fixed cost of a step, kd in kdrecipes ÷ labels in stock Keras: two layers",
            ratio(times["kdrecipes"], times["stock"]),
            "at most",
            1.0,
            0.7,
            batch=count,
            **figures,
        )
    ]
