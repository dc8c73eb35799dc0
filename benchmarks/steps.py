"""Rows 1 and 2: one training step, stock Keras ÷ kdrecipes, and kdrecipes ÷ hand-written torch."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import handwritten
from benchmarks.allocator import as_glibc_has_it
from benchmarks.networks import TITLES, as_loaded, batch_of, build, distiller, step_of, stock
from benchmarks.rows import Figures, Row, Setting, row_of
from benchmarks.timing import interleave, milliseconds, per_second, ratio


@dataclass(frozen=True)
class Case:
    """A network, its pixels per side, and row 1's goal."""

    network: str
    size: int
    goal: float
    reach: float


CASES = [
    Case("efficientnet_b0", 96, 2.0, 2.4),
    Case("mobilenet_v3_large", 64, 1.5, 1.8),
    Case("mobilenet_v3_small", 64, 1.4, 1.7),
    Case("resnet50_v2", 64, 1.2, 1.4),
]


def measure(setting: Setting) -> list[Row]:
    """Both rows, from the same rounds."""
    return [row for case in setting.choose(CASES, CASES[2:], CASES[:1]) for row in _measure(case, setting)]


def _measure(case: Case, setting: Setting) -> list[Row]:
    size, count = setting.choose(case.size, 32, 224), setting.choose(64, 4, 128)
    images, labels = batch_of(count, size)
    stock_step = step_of(stock(build(case.network, size, setting.precision)), images, labels)
    candidates = {
        "stock": as_glibc_has_it(stock_step),
        "stock_keeping_memory": stock_step,
        "kdrecipes": step_of(
            distiller(build(case.network, size), precision=setting.precision), as_loaded(images), labels
        ),
    }
    way = None
    if case.network in handwritten.TWINS:
        candidates["torch"], way = handwritten.tune(case.network, images, labels, setting)
    steps = setting.choose(3, 1)
    times = interleave(candidates, setting.choose(11, 2), steps=steps, warm_up=steps, settle=1)

    title = f"{TITLES[case.network]} {size} px"
    common: Figures = {"batch": count, "images_per_second": per_second(count, times["kdrecipes"])}
    figures: Figures = {f"{name}_ms": milliseconds(seconds) for name, seconds in times.items()}
    measured = ratio(times["stock"], times["kdrecipes"])
    name = f"training step, stock Keras ÷ kdrecipes: {title}"
    rows = [row_of(1, name, measured, "at least", case.goal, case.reach, **common, **figures)]
    if way is not None:
        name = f"training step, kdrecipes ÷ hand-written torch: {title}"
        measured = ratio(times["kdrecipes"], times["torch"])
        rows.append(row_of(2, name, measured, "at most", 1.15, 1.0, **common, **figures, handwritten=str(way)))
    return rows
