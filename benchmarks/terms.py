"""Rows 9 and 10: a training step with each distillation term, or with it beside `kd`, ÷ the same step with `kd`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import torch

from benchmarks.networks import CLASSES, TITLES, as_loaded, batch_of, build, distiller, resnet20, step_of, two_layers
from benchmarks.rows import Row, Setting, row_of
from benchmarks.timing import interleave, milliseconds, ratio
from kdrecipes import component, losses
from kdrecipes.components.contract import PASSED_BY_RUN
from kdrecipes.components.losses import TERMS
from kdrecipes.components.losses.declared import component_of

GOAL = 1.10
# Layers of the network `cnn`, the same of teacher and student, for terms that want others than the last map.
LAYERS = dict.fromkeys(("fsp", "review_kd", "ofa"), ("stage1b_relu", "stage2b_relu"))
LAST_MAP = ("stage2b_relu",)


def measure(setting: Setting) -> list[Row]:
    """A row for each term, and for one on logits a row for each student."""
    students = setting.choose({"mobilenet_v3_small": 32, "resnet20": 32}, {"two_layers": 8})
    rows = [row for network, size in students.items() for row in _on_logits(network, size, setting)]
    return [*rows, *_on_features(setting)]


def names(layers: bool) -> list[str]:
    """The built-in terms but `kd` that read layers, or that do not."""
    made = {component_of(cls).name: cls for cls in (getattr(losses, name) for name in TERMS.values())}
    return [name for name, cls in made.items() if hasattr(cls, "student_layers") == layers and name != "kd"]


def term_of(name: str, layers: tuple[str, ...] = ()) -> Any:
    """A term with its defaults, as a run builds it."""
    found = component("loss", name)
    passed = {key: {"classes": CLASSES, "examples": 50_000}[key] for key in PASSED_BY_RUN["loss"]}
    term = found.build(**{key: value for key, value in passed.items() if key in found.options["properties"]})
    if layers and not hasattr(term, "meet"):  # another finds its own
        for role in ("student_layers", "teacher_layers"):
            if hasattr(term, role):
                setattr(term, role, layers)
    return term


def _on_logits(network: str, size: int, setting: Setting) -> list[Row]:
    """The teacher's logits come with the batch; each term has a student and an optimiser of its own."""
    count = setting.choose(64, 8)
    images, labels = batch_of(count, size)
    logits = 3 * torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(0)).to(images.device)
    batch = as_loaded(images, teacher=logits)

    def step(name: str) -> Callable[[], Any]:
        return step_of(distiller(_student(network, size), term=term_of(name)), batch, labels)

    where = f"teacher's logits at hand, {TITLES.get(network, network)} {size} px"
    return _rows(9, ("kd", *names(layers=False)), step, where, count, setting, GOAL)


def _on_features(setting: Setting) -> list[Row]:
    """Student and teacher are two networks `cnn`; the teacher runs at every step. A term stands beside `kd`.

    Features alone would need no deeper layer of either network, and would look cheaper than a recipe with them is.
    """
    count, size, width = setting.choose(64, 8), setting.choose(32, 8), setting.choose(16, 4)
    images, labels = batch_of(count, size)

    def network() -> keras.Model:
        return component("model", "cnn").build(classes=CLASSES, image_size=size, width=width)

    def step(name: str) -> Callable[[], Any]:
        beside = [] if name == "kd" else [term_of(name, LAYERS.get(name, LAST_MAP))]
        return step_of(distiller(network(), network(), term=[term_of("kd"), *beside]), as_loaded(images), labels)

    where = f"teacher at every step, cnn {size} px"
    return _rows(10, ("kd", *names(layers=True)), step, where, count, setting, None, beside="kd + ")


def _student(network: str, size: int) -> keras.Model:
    own = {"resnet20": resnet20, "two_layers": two_layers}
    return own[network](size) if network in own else build(network, size)


def _rows(
    number: int,
    terms: Iterable[str],
    step: Callable[[str], Callable[[], Any]],
    where: str,
    count: int,
    setting: Setting,
    goal: float | None,
    beside: str = "",
) -> list[Row]:
    """All terms in turns; `kd` is the first of them and what the others are divided by."""
    steps = setting.choose(3, 1)
    candidates = {name: step(name) for name in terms}
    times = interleave(candidates, setting.choose(11, 2), steps=steps, warm_up=steps, settle=setting.choose(1, 0))
    kd = times.pop("kd")
    return [
        row_of(
            number,
            f"training step, {beside}{name} ÷ kd: {where}",
            ratio(seconds, kd),
            "at most",
            goal,
            term=name,
            batch=count,
            step_ms=milliseconds(seconds),
            kd_ms=milliseconds(kd),
        )
        for name, seconds in times.items()
    ]
