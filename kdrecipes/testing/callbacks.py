"""`check_callback`: a callback outlives a fit and leaves the student as it would be without it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.hookspecs import Component
from kdrecipes.runs.build import build_callbacks
from kdrecipes.testing.contract import broken, check_contract, trying
from kdrecipes.training.distiller import Distiller

EPOCHS = 6
_CLASSES = 3


def check(component: Component, options: Mapping[str, Any]) -> None:
    """See `kdrecipes.testing.check_callback`."""
    recipe = check_contract(component, "callback", options)
    alone = _fitted(list)
    with tempfile.TemporaryDirectory() as folder:
        for arm in ("baseline", "kd"):

            def build(arm: str = arm) -> list[Any]:
                with trying(component, f"build(arm={arm!r})"):
                    (callback,) = build_callbacks(recipe, folder=folder, arm=arm, seed=0)
                if not isinstance(callback, keras.callbacks.Callback):
                    raise broken(component, "build must return a keras.callbacks.Callback", type(callback).__name__)
                return [callback]

            build()  # its own error, not the fit's
            with trying(component, f"a fit of {EPOCHS} epochs with it"):
                attended = _fitted(build)
            if not all(map(torch.equal, alone, attended)):
                rule = (
                    "must leave the student's training as it is without it: the recipe's fingerprint does not hold it"
                )
                raise broken(component, rule, "other weights, or another state of torch's generator")


def _fitted(callbacks: Callable[[], list[Any]]) -> Sequence[torch.Tensor]:
    """A small student's weights after a fit, and torch's generator; `callbacks` is called once the student is built.

    Its validation labels are not what it learns, so that whoever waits for validation to improve acts.
    """
    seed_everything(0)
    pixels = keras.Input((4, 4, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    student = keras.Model(pixels, keras.layers.Dense(_CLASSES)(x))
    distiller = Distiller(student=student)
    distiller.compile(optimizer="adamw", metrics=["accuracy"])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 4, 4, 3), generator=generator).float().numpy()
    labels = (torch.arange(8) % _CLASSES).numpy()
    distiller.fit(
        images,
        labels,
        batch_size=4,
        epochs=EPOCHS,
        shuffle=False,
        validation_data=(images, (labels + 1) % _CLASSES),
        verbose=0,
        callbacks=callbacks(),
    )
    return [*(variable.value.detach().clone() for variable in student.variables), torch.get_rng_state()]
