"""Row 4: an epoch of the kd arm with the teacher's outputs at hand ÷ an epoch of the baseline arm."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from benchmarks.images import VIEWS, open_split
from benchmarks.networks import CLASSES, TITLES, build, distiller, frozen, two_layers
from benchmarks.rows import Row, Setting, row_of
from benchmarks.timing import interleave, per_second, ratio
from kdrecipes.data.loader import EpochSetter, Loader
from kdrecipes.runs.teacher_outputs import open_outputs
from kdrecipes.training.distiller import Distiller


def measure(setting: Setting) -> list[Row]:
    """One row. The teacher is a small one: once its outputs are there, its size is the same to an epoch."""
    images = setting.choose(4096, 32)
    batch, size, pairs = setting.choose(128, 16), setting.choose(64, 32, 224), setting.choose(5, 2)
    network = setting.choose("mobilenet_v3_small", "mobilenet_v3_small", "efficientnet_b0")
    with open_split(images, setting) as (split, described):
        logits_of = frozen(two_layers(size))
        outputs = open_outputs(logits_of, split, size, VIEWS, 1 + pairs, CLASSES, ["benchmark"], name="benchmark")

        def arm(kd: bool) -> Callable[[], Any]:
            teachers = {"teacher": outputs} if kd else {}
            loader = Loader(split, batch, size, settings=VIEWS, order_seed=0, drop_last=True, teachers=teachers)
            return epochs_of(distiller(build(network, size), kd=kd, precision=setting.precision), loader)

        times = interleave({"kd": arm(True), "baseline": arm(False)}, pairs, warm_up=1)
    return [
        row_of(
            4,
            f"epoch, kd arm with cached teacher ÷ baseline arm: {TITLES[network]} {size} px",
            ratio(times["kd"], times["baseline"]),
            "at most",
            1.05,
            batch=batch,
            images=described,
            images_an_epoch=images,
            images_per_second=per_second(images, times["kd"]),
            kd_seconds=round(float(np.median(times["kd"])), 3),
            baseline_seconds=round(float(np.median(times["baseline"])), 3),
        )
    ]


def epochs_of(model: Distiller, loader: Loader) -> Callable[[], Any]:
    """Trains one epoch more at every call, as a run does."""
    epochs = count()

    def epoch() -> None:
        now = next(epochs)
        model.fit(loader, initial_epoch=now, epochs=now + 1, verbose=0, shuffle=False, callbacks=[EpochSetter(loader)])

    return epoch
