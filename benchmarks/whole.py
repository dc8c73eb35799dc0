"""Rows 5 and 6: a whole distillation, `keras.distillation.Distiller` ÷ kdrecipes.

Both train the same student from the same teacher for five epochs, on labels and on T² · KL(teacher ‖ student) in equal
parts. Keras asks the teacher at every step. kdrecipes asks it first, for every view of every epoch (row 5), or finds
its outputs there, as the second arm, seed or sweep point does (row 6). Keras sees the same pixels in every epoch.
kdrecipes would then need one teacher output an image for all epochs together; so that it gains nothing by that, it
trains with views (flip, crop_padding = 2) and pays for five times as many outputs, and for the views.

The epochs of both are timed in turns; the time for the outputs is spread over them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from benchmarks.allocator import as_glibc_has_it
from benchmarks.epochs import epochs_of
from benchmarks.images import VIEWS, open_split
from benchmarks.networks import CLASSES, LEARNING_RATE, TITLES, WEIGHT_DECAY, build, distiller, frozen
from benchmarks.rows import Figures, Row, Setting, row_of
from benchmarks.timing import interleave, per_second, ratio
from kdrecipes.backend import keras, synchronize
from kdrecipes.data.examples import show
from kdrecipes.data.loader import Loader
from kdrecipes.data.splits import Split
from kdrecipes.runs.teacher import weights_fingerprint
from kdrecipes.runs.teacher_outputs import CachedOutputs, open_outputs

TEACHER = "resnet50_v2"


def measure(setting: Setting) -> list[Row]:
    """Both rows."""
    images, epochs = setting.choose(10_000, 32), setting.choose(5, 2)
    batch, size = setting.choose(128, 16), setting.choose(32, 32, 224)
    network = setting.choose("mobilenet_v3_small", "mobilenet_v3_small", "efficientnet_b0")
    with open_split(images, setting) as (split, described):
        teacher = build(TEACHER, size)
        _outputs(teacher, Split(split.store, split.positions[:batch]), size, 1, setting)  # warm
        first, outputs = _timed(lambda: _outputs(teacher, split, size, epochs, setting))
        again, _ = _timed(lambda: _outputs(teacher, split, size, epochs, setting))
        loader = Loader(split, batch, size, settings=VIEWS, order_seed=0, teachers={"teacher": outputs})
        candidates = {
            "keras": as_glibc_has_it(_keras_epochs(network, split, batch, size, setting)),
            "kdrecipes": epochs_of(
                _warm(distiller(build(network, size), kd=True, precision=setting.precision), loader), loader
            ),
        }
        times = interleave(candidates, epochs, warm_up=0)
    figures: Figures = {
        "batch": batch,
        "images": described,
        "images_an_epoch": images,
        "epochs": epochs,
        "keras_seconds": round(sum(times["keras"]), 3),
        "outputs_seconds": round(first, 3),
        "outputs_images_per_second": per_second(images * epochs, [first]),
        "outputs_again_seconds": round(again, 3),
    }

    networks = f"{TITLES[TEACHER]} → {TITLES[network]} {size} px"

    def row(number: int, which: str, outputs_seconds: float, goal: float, reach: float) -> Row:
        ours = [seconds + outputs_seconds / epochs for seconds in times["kdrecipes"]]
        return row_of(
            number,
            f"whole distillation, keras.distillation ÷ kdrecipes, {which}: {networks}",
            ratio(times["keras"], ours),
            "at least",
            goal,
            reach,
            **figures,
            kdrecipes_seconds=round(sum(ours), 3),
        )

    return [row(5, "first arm", first, 2.0, 3.0), row(6, "second arm", again, 4.0, 6.0)]


def _outputs(teacher: keras.Model, split: Split, size: int, epochs: int, setting: Setting) -> CachedOutputs:
    facts = [weights_fingerprint(teacher)]
    return open_outputs(frozen(teacher, setting.precision), split, size, VIEWS, epochs, CLASSES, facts, name=TEACHER)


def _keras_epochs(network: str, split: Split, batch: int, size: int, setting: Setting) -> Callable[[], Any]:
    """Trains one epoch more at every call, as Keras' documentation shows it, but for the loss.

    A loss by name would be taken of logits instead of probabilities; the instance is right.
    """
    model = keras.distillation.Distiller(
        teacher=build(TEACHER, size, setting.precision),
        student=build(network, size, setting.precision),
        distillation_losses=keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence(), temperature=4),
        student_loss_weight=0.5,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    shown, labels = show(split, np.arange(len(split)), size)
    x, y = keras.ops.convert_to_numpy(shown), keras.ops.convert_to_numpy(labels)
    model.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)  # warm
    epochs = count()

    def epoch() -> None:
        now = next(epochs)
        model.fit(x, y, batch_size=batch, initial_epoch=now, epochs=now + 1, verbose=0)

    return epoch


def _warm(model: Any, loader: Loader) -> Any:
    model.train_step(loader[0])
    model.reset_metrics()
    return model


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    synchronize()
    started = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - started, result
