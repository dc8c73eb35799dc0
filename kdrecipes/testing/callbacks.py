"""`check_callback`: a callback outlives a fit and leaves the student as it would be without it; a tracker, a run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.hookspecs import Component
from kdrecipes.recipe.tables import Recipe
from kdrecipes.runs.build import build_callbacks, build_component, builder, is_tracker
from kdrecipes.testing.contract import broken, check_contract, trying
from kdrecipes.training.distiller import Distiller

EPOCHS = 6
_CLASSES = 3
_OF_TRACKERS = ("on_run_begin", "on_run_end")
_FIGURES = {"test_accuracy": 0.5, "test_loss": 1.0, "ece": 0.1, "macro_f1": 0.5, "params": 100}


def check(component: Component, options: Mapping[str, Any]) -> None:
    """See `kdrecipes.testing.check_callback`."""
    recipe = check_contract(component, "callback", options)
    (table,) = recipe.callbacks
    _check_builder(component, builder(recipe, table))
    alone = _fitted(list)
    with tempfile.TemporaryDirectory() as folder:
        if is_tracker(recipe, table):
            _check_tracker(component, recipe, Path(folder), alone)
            return
        for arm in ("baseline", "kd"):

            def build(arm: str = arm) -> list[Any]:
                with trying(component, f"build(arm={arm!r})"):
                    (callback,) = build_callbacks(recipe, folder=folder, arm=arm, seed=0)
                return [_callback(component, callback)]

            callback = build()[0]  # its own error, not the fit's
            for method in _OF_TRACKERS:
                if hasattr(callback, method):
                    raise broken(component, f"{method} is called of a tracker only: build.tracker must be True")
            _check_fit(component, build, alone)


def _check_builder(component: Component, build: Any) -> None:
    """What a builder says of itself beside what it builds."""
    modules = getattr(build, "modules", ())
    if not isinstance(modules, tuple) or not all(isinstance(name, str) for name in modules):
        raise broken(component, "build.modules must be a tuple of names that can be imported", repr(modules))
    if modules and not isinstance(extra := getattr(build, "extra", None), str):
        raise broken(component, "build.extra must say what pip installs where build.modules are missing", repr(extra))
    declared = {"arm", "seed"} & set(component.options.get("properties", {}))
    if getattr(build, "tracker", False) and declared:
        raise broken(component, "a tracker is built once for all arms, without arm and seed", sorted(declared))


def _check_tracker(component: Component, recipe: Recipe, folder: Path, alone: Sequence[torch.Tensor]) -> None:
    """A run that stops, and goes on to its end, in two processes' trackers."""

    def build() -> list[Any]:
        with trying(component, "build"):
            made = _callback(component, build_component(recipe, recipe.callbacks[0], folder=str(folder)))
        if hasattr(made, "on_run_begin"):
            with trying(component, "on_run_begin"):
                made.on_run_begin(dict(recipe.data), folder)
        trackers.append(made)
        return [made]

    trackers: list[Any] = []
    arms = [{"arm": arm, "seed": 0, "epochs": EPOCHS, **_FIGURES} for arm in ("baseline", "kd")]
    found = {"kd_minus_baseline": {"mean": 0.0}, "kd_minus_teacher": {"mean": 0.0}}
    report = {"name": "check", "teachers": [{"id": "cnn", **_FIGURES}], "arms": arms, "comparison": found}
    for name in ("report.json", "report.html"):
        (folder / name).write_text(json.dumps(report), encoding="utf-8")
    for end in (None, report):
        rows = [{"arm": "kd", "seed": 0, "epoch": e + 1, "loss": 0.5, "val_accuracy": 0.5} for e in range(EPOCHS)]
        (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        _check_fit(component, build, alone)
        if hasattr(trackers[-1], "on_run_end"):
            with trying(component, f"on_run_end({'None' if end is None else 'a report'})"):
                trackers[-1].on_run_end(end, folder)


def _callback(component: Component, made: Any) -> Any:
    if not isinstance(made, keras.callbacks.Callback):
        raise broken(component, "build must return a keras.callbacks.Callback", type(made).__name__)
    return made


def _check_fit(component: Component, build: Callable[[], list[Any]], alone: Sequence[torch.Tensor]) -> None:
    """Fit with it, and compare with a fit alone."""
    with trying(component, f"a fit of {EPOCHS} epochs with it"):
        attended = _fitted(build)
    if not all(map(torch.equal, alone, attended)):
        rule = "must leave the student's training as it is without it: the recipe's fingerprint does not hold it"
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
