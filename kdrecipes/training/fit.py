"""One fit: optimiser and schedule from the recipe, epochs that can be resumed, the epochs' figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from kdrecipes.backend import keras
from kdrecipes.data.examples import ViewSettings
from kdrecipes.data.loader import NOTHING, EpochSetter, Loader, TeacherOutputs, Unlabelled
from kdrecipes.data.mixture import Mixture
from kdrecipes.data.prepare import Data
from kdrecipes.fast import accelerate_optimizer
from kdrecipes.keras_private import compiled_metrics, global_seed, loss_tracker
from kdrecipes.recipe.tables import TrainTable
from kdrecipes.stopping import after_steps
from kdrecipes.torch_modules import variables_of
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.ema import Finisher
from kdrecipes.training.finite import FiniteWatch
from kdrecipes.training.gradient_watch import GradientWatch
from kdrecipes.training.keeper import Keeper, Row
from kdrecipes.training.metrics import Accuracy
from kdrecipes.training.optimizer import build_optimizer, head_of, scale_updates
from kdrecipes.training.passing import Passing
from kdrecipes.training.schedule import learning_rate
from kdrecipes.training.state import StateFolder

EVALUATION_BATCH = 256

Listener = Callable[[str, Distiller, Loader, list[Any]], None]
_listeners: list[Listener] = []


@contextmanager
def observed(listener: Listener) -> Iterator[None]:
    """Inside the block, `listener` is called as each fit begins or goes on, a teacher's too, and never in a step.

    Args:
        listener: takes the fit's label ("teacher", "kd-0"), its distiller, the loader of its training split, and a
            list of Keras callbacks, to which it may add its own. What it raises stops the fit before its first step.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def prepare_steps(
    distiller: Distiller, train: TrainTable, steps: int, jit_compile: bool, examples: int = 0
) -> keras.optimizers.Optimizer:
    """Compile a distiller for a fit of `steps` steps on so many examples, as the recipe says.

    Returns:
        Its optimiser, built.
    """
    optimizer = build_optimizer(train, steps, examples=examples, model=distiller)
    distiller.compile(optimizer=optimizer, metrics=[Accuracy()], jit_compile=jit_compile)
    optimizer.build(distiller.trainable_variables)
    if train.fast:
        accelerate_optimizer(optimizer)
    if (factor := train.head_learning_rate_factor or 1) != 1:
        scale_updates(optimizer, head_of(distiller.student), factor)
    return optimizer


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float64 (classes,): weights inverse to each class's frequency; the mean over examples is 1."""
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 0.0)


def validated(epochs: int, images: int, data: Data) -> list[int]:
    """The epochs, counted from 1, after which a fit that trains on so many images an epoch is validated."""
    passes = [epoch * images // len(data.validation) for epoch in range(epochs + 1)]
    return [epoch for epoch in range(1, epochs + 1) if epoch == epochs or passes[epoch] > passes[epoch - 1]]


def _name_of(data: Data, place: int) -> str:
    """An example of a batch by its index in its base split; places behind the labelled ones are of those without."""
    for split, name in ((data.train, "train"), *((one, "unlabelled") for one in data.unlabelled)):
        if place < len(split):
            return f"{name} {int(split.index[place])}"
        place -= len(split)
    return f"unlabelled {place}"


def fit(
    distiller: Distiller,
    data: Data,
    train: TrainTable,
    *,
    size: int,
    label: str,
    order_seed: int,
    settings: ViewSettings,
    state: StateFolder,
    teachers: Mapping[str, TeacherOutputs] = NOTHING,
    teacher_sizes: Mapping[str, int] = NOTHING,
    mixed: Mixture | None = None,
    jit_compile: bool = False,
    every_epoch: bool = True,
    callbacks: Sequence[Any] = (),
    on_epoch: Callable[[list[Row]], None] = lambda rows: None,
    watch: Callable[[int, int], Any] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Train; go on after the last step that `state` holds of this fit. A signal is heard when a step is saved.

    Args:
        distiller: student, teacher and terms, freshly built.
        data: the splits.
        train: `[train]` or `[teacher.train]`.
        size: pixels per side that the network sees.
        label: names this fit in its state and messages, e.g. "kd-0".
        order_seed: seeds the order of examples.
        settings: the views.
        state: where the state is kept, every `train.save_every_seconds` and after every epoch.
        teachers: by a teacher's name, its logits by epoch and positions; of those that are not asked live.
        teacher_sizes: by a teacher's name, pixels per side that it sees; of those that are asked live, or whose layers
            are read.
        mixed: what a batch holds and how many an epoch has. Default: images with labels, and one pass over them.
        jit_compile: whether the network's step goes through `torch.compile`.
        every_epoch: validate after each epoch; else as often as keeps images that are validated below those that are
            trained on, and after the last one.
        callbacks: more Keras callbacks.
        on_epoch: called with all rows so far after each epoch, and once at the start when resuming.
        watch: called with (steps done, steps per epoch); returns the callback that shows progress.
        tell: gets a line where the fit goes on after an interruption, and at the first step one for each term that does
            not move the student, or drowns the labels.

    Returns:
        One row per epoch: the epoch from 1, Keras' figures (training ones are running means), seconds and steps, and of
        a fit with terms the figures of `GradientWatch`.

    Raises:
        RunError: when the loss, a gradient or a weight is not finite: at that step, and nothing of it is saved.
    """
    loader = Loader(
        data.train,
        train.batch_size,
        size,
        settings=settings,
        order_seed=order_seed,
        drop_last=True,
        class_weight=balanced_weights(data.train.labels, len(data.classes)) if train.class_weight else None,
        weighted=True,
        teachers=teachers,
        teacher_sizes=teacher_sizes,
        unlabelled=Unlabelled(data.unlabelled, mixed.unlabelled) if mixed and mixed.unlabelled else None,
        steps=mixed.steps if mixed else None,
    )
    callbacks = [*callbacks]
    for listener in _listeners:
        listener(label, distiller, loader, callbacks)
    examples = data.images if mixed else len(data.train)  # both arms of a run have one schedule
    optimizer = prepare_steps(distiller, train, train.epochs * len(loader), jit_compile, examples)
    rate = learning_rate(train.optimizer.learning_rate, train.schedule, train.epochs * len(loader), examples)
    distiller.finite = FiniteWatch(
        label,
        lambda step: float(rate(step) if callable(rate) else rate),
        len(loader),
        partial(_name_of, data),
        gradients=train.precision != "float16",
    )
    finisher = Finisher(distiller.student, loader, train)
    gradients = GradientWatch(distiller, label, lambda text: tell(f"Warning: {text}")) if distiller.terms else None
    kept = [*variables_of(distiller), *optimizer.variables, *finisher.variables]
    keeper = Keeper(
        kept,
        state,
        label,
        on_epoch,
        counters=partial(counters_of, distiller),
        gradients=gradients,
        look=distiller.finite.look,
        every=train.save_every_seconds,
    )
    done, steps = keeper.resume()
    if done or steps:
        tell(
            f"{label}  goes on after {f'step {steps}/{len(loader)} of ' if steps else ''}"
            f"epoch {done + bool(steps)}/{train.epochs}"
        )
    if done >= train.epochs:
        return keeper.rows
    watcher = [watch(done * len(loader) + steps, len(loader))] if watch else []
    watches = [distiller.finite, finisher, *([gradients] if gradients else [])]
    hear: Any = [EpochSetter(loader), *callbacks, *watches, keeper, *watcher]
    if steps:
        hear = Passing(hear, distiller, loader, epochs=train.epochs, epoch=done, steps=steps, put_back=keeper.put_back)
    # shuffle=False: Keras would reorder the batches by a global generator; the loader has an order of its own.
    with after_steps():
        distiller.fit(
            loader,
            epochs=train.epochs,
            initial_epoch=done,
            validation_data=Loader(data.validation, EVALUATION_BATCH, size),
            validation_freq=1 if every_epoch else validated(train.epochs, len(loader) * train.batch_size, data),
            verbose=0,
            shuffle=False,
            callbacks=hear,
        )
    return keeper.rows


def counters_of(distiller: Distiller) -> list[keras.Variable]:
    """What moves within an epoch beside the networks and the optimiser: the metrics so far, and Keras' own seed."""
    metrics = [loss_tracker(distiller), *distiller.loss_parts.metrics, *compiled_metrics(distiller).metrics]
    return [*(variable for metric in metrics for variable in metric.variables), global_seed()]
