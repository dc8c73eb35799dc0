"""A fit that is stopped at any step goes on to the bit: networks, optimiser, averages, seeds, metrics and rows."""

from __future__ import annotations

import itertools
import os
import random
import signal

import numpy as np
import pytest

from kdrecipes.backend import keras, seed_everything
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import Preempted
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.arms import Arm, fit_arm
from kdrecipes.runs.build import build_model
from kdrecipes.runs.decisions import EAGER, Decision
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.teacher import Teacher, prepare_teacher
from kdrecipes.stopping import stoppable
from kdrecipes.training import fit as training
from kdrecipes.training import generators
from kdrecipes.training import keeper as keeping
from kdrecipes.training.keeper import Keeper
from kdrecipes.training.state import StateFolder

DROPS = """
import kdrecipes

def build(classes, image_size):
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    x = layers.BatchNormalization(name="stage1b_relu")(layers.GaussianNoise(0.1)(layers.Dropout(0.3)(x)))
    return keras.Model(pixels, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="drops", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""
# When a fit is stopped, and what it is made of; each choice with the settings that make it.
FACTORS = {
    # The epoch, from 0, and how much of it is done; after its last step it is still to be validated.
    "moment": {"mid-epoch": (1, 0.6), "last step": (1, 1.0), "first step": (0, 0.01), "epoch end": (1, 0.0)},
    "fit": {"kd": [], "teacher": [], "baseline": []},
    "network": {"drops": 'name="drops"', "cnn": 'name="cnn", width=4, depth=1'},
    "teachers": {"two": 2, "one": 1},
    "precision": {"float32": [], "bfloat16": ['train.precision="bfloat16"']},
    "weights": {"averaged": ["train.ema=0.9", "train.recalibrate_batch_norm=2"], "plain": []},
    "updates": {"scheduled": ["train.accumulate=3", 'train.schedule={name="one_cycle"}'], "each step": []},
    "views": {"mixed": ["dataset.views={mixup=0.2, crop_padding=1}"], "plain": []},
    "labels": {"some": ["dataset.labelled=160"], "all": []},
    "terms": {
        "with weights": [
            'loss={terms=[{name="kd", schedule={name="linear"}}, {name="ctkd"}, {name="vid", teacher="t", '
            'student_layers=["stage1b_relu"], teacher_layers=["stage1b_relu"]}]}'
        ],
        "on logits": [],
    },
}
BASE = ["train.epochs=2", 'dataset.train="train[:320]"', "dataset.validation=0.2", "train.save_every_seconds=0"]


def covering(strength):
    """Cells such that each choice for so many of the factors is in one of them."""
    draw, cells, names = random.Random(0), [], list(FACTORS)
    whole = list(itertools.product(*FACTORS.values()))
    parts = lambda cell: set(itertools.combinations(zip(names, cell, strict=True), strength))  # noqa: E731
    left = {
        tuple(zip(chosen, levels, strict=True))
        for chosen in itertools.combinations(names, strength)
        for levels in itertools.product(*(FACTORS[name] for name in chosen))
    }
    while left:
        [(name, level), *_] = sorted(left)[0]
        likely = [cell for cell in draw.sample(whole, 60) if cell[names.index(name)] == level]
        best = max(likely, key=lambda cell: len(parts(cell) & left), default=None)
        if best and (found := parts(best) & left):
            cells.append(dict(zip(names, best, strict=True)))
            left -= found
    return cells


def cells():
    """The first of a pairwise-covering set as it is, the others slow; a threefold one for `make soak`."""
    pairwise = covering(2)
    for number, cell in enumerate(pairwise):
        yield pytest.param(cell, id=", ".join(cell.values()), marks=[pytest.mark.slow] if number else [])
    for cell in covering(3):
        if cell not in pairwise:
            yield pytest.param(cell, id=", ".join(cell.values()), marks=[pytest.mark.slow, pytest.mark.soak])


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """`trained(cell, name)`: the final state of a fit in a folder of that name, where it goes on."""
    (tmp_path / "drops.py").write_text(DROPS)
    monkeypatch.setattr(StateFolder, "clear", lambda self: None)

    def trained(cell, name, *more):
        monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / name / "home"))
        chosen = {key: FACTORS[key][level] for key, level in cell.items()}
        network, count = chosen.pop("network"), chosen.pop("teachers")
        chosen.pop("moment")
        networks = [
            f"student={{{network}}}",
            f'teacher={{id="t", copies={count}, {network}, train={{epochs=2}}}}',
        ]
        recipe = load_recipe(
            "digits",
            [*networks, *BASE, *(text for texts in chosen.values() for text in texts), *more],
            plugins=[tmp_path / "drops.py"],
        )
        data = prepare(recipe)
        if cell["fit"] == "teacher":
            prepare_teacher(recipe, recipe.teachers["t"], data, note=lambda text: None)
            [place] = (tmp_path / name / "home" / "teachers").glob("*/state")
            return StateFolder(place).load()
        teachers = {}
        for number, (id, table) in enumerate(recipe.teachers.items()):
            seed_everything(number)
            teachers[id] = Teacher(build_model(recipe, table, data), id)
        (tmp_path / name / "students").mkdir(parents=True, exist_ok=True)
        anew = Decision(recipe.train.recalibrate_batch_norm or 0, "")
        progress = Progress(quiet=True)
        fit_arm(recipe, Arm(cell["fit"], 3), data, teachers, EAGER, anew, folder=tmp_path / name, progress=progress)
        return StateFolder(tmp_path / name / "state").load()

    return trained


class Stop(keras.callbacks.Callback):
    """Ends a fit as a crash does, after so many steps of an epoch."""

    def __init__(self, epoch, steps, of):
        super().__init__()
        self.at, self.whole = (epoch, steps), steps == of

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if (epoch, 0) == self.at:
            raise KeyboardInterrupt

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt

    def on_test_begin(self, logs=None):
        if self.whole and self.epoch == self.at[0]:
            raise KeyboardInterrupt


class Heard(keras.callbacks.Callback):
    """The epochs and numbers of the batches that callbacks hear of."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.batches.append((self.epoch, batch))


def interrupted(trained, cell):
    """The final state of a fit that was stopped and went on."""
    epoch, share = FACTORS["moment"][cell["moment"]]
    steps, heard = [], Heard()

    def stopping(label, distiller, loader, callbacks):
        steps.append((int(np.ceil(share * len(loader))), len(loader)))
        callbacks.append(Stop(epoch, *steps[0]))

    with training.observed(stopping), pytest.raises(KeyboardInterrupt):
        trained(cell, "stopped")
    with training.observed(lambda label, distiller, loader, callbacks: callbacks.append(heard)):
        found = trained(cell, "stopped")
    [(done, of)] = steps
    assert heard.batches == [(e, b) for e in range(epoch, 2) for b in range(done if e == epoch else 0, of)]
    return found


def same(one, other):
    """Whether two final states are the same to the bit, times aside."""
    (arrays, meta), (others, other_meta) = one, other
    for told in (meta, other_meta):
        for row in (told, *told["rows"]):
            row.pop("seconds")
    return meta == other_meta and all(np.array_equal(a, b) for a, b in zip(arrays, others, strict=True))


@pytest.mark.parametrize("cell", list(cells()))
def test_a_fit_that_was_stopped_ends_as_one_that_was_not(trained, cell):
    whole = trained(cell, "whole")
    assert len(whole[1]["rows"]) == 2 and len(whole[0]) > 20
    assert same(interrupted(trained, cell), whole)


CELL = {name: next(iter(levels)) for name, levels in FACTORS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", ["generators", "metrics", "averages"])
def test_the_comparison_sees_what_a_state_forgets(trained, monkeypatch, forgotten):
    """The negative control: where a part of the state is not put back, the end is another one."""
    cell = {**CELL, "terms": "on logits"}
    whole = trained(cell, "whole")
    if forgotten == "generators":
        monkeypatch.setattr(generators, "put_back", lambda taken: None)
    put_back = Keeper.put_back

    def forgetting(self):
        figures = put_back(self)
        for variable in {"metrics": self.counters()[:-1], "averages": self.variables[-1:]}.get(forgotten, ()):
            variable.assign(keras.ops.zeros_like(variable.value))
        return figures

    monkeypatch.setattr(Keeper, "put_back", forgetting)
    assert not same(interrupted(trained, cell), whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("during", ["on_train_batch_begin", "on_test_batch_begin"])
def test_a_signal_stops_a_fit_after_a_step_whose_state_is_saved(trained, tmp_path, number, during):
    """A step that it comes into is done; where it comes into validation, that ends and one step more is taken."""
    cell = {name: list(levels)[-1] for name, levels in FACTORS.items()} | {"fit": "kd"}
    asked = []

    def send(batch, logs=None):
        if batch == 0 and not asked:
            asked.append(os.kill(os.getpid(), number))

    def signalled(label, distiller, loader, callbacks):
        one = keras.callbacks.Callback()
        setattr(one, during, send)
        callbacks.append(one)

    rarely = "train.save_every_seconds=1000"
    error = Preempted if number == signal.SIGTERM else KeyboardInterrupt
    with training.observed(signalled), pytest.raises(error), stoppable():
        trained(cell, "stopped", rarely)
    state = StateFolder(tmp_path / "stopped" / "state").load()[1]
    assert state["steps"] == 1 and len(state["rows"]) == (0 if during == "on_train_batch_begin" else 1)
    assert same(trained(cell, "stopped", rarely), trained(cell, "whole", rarely))


@pytest.mark.parametrize(("every", "cost", "saves"), [(60, 0.5, 5), (60, 2.0, 3), (0, 2.0, 300)])
def test_saves_take_under_two_percent_however_long_one_takes(tmp_path, monkeypatch, every, cost, saves):
    clock = [0.0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: clock[0])
    saved = []

    class Slow(StateFolder):
        def save(self, arrays, meta):
            clock[0] += cost
            saved.append(clock[0])

    keeper = Keeper([], Slow(tmp_path), "kd-0", lambda rows: None, every=every)
    keeper.on_train_begin()
    for batch in range(300):  # of a second each
        clock[0] += 1
        keeper.on_train_batch_end(batch)
    assert len(saved) == saves


def test_a_second_signal_stops_a_fit_at_once(trained, tmp_path):
    cell = {name: list(levels)[-1] for name, levels in FACTORS.items()} | {"fit": "kd"}
    after = []

    def signalled(label, distiller, loader, callbacks):
        one = keras.callbacks.Callback()

        def twice(batch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            after.append(batch)

        one.on_train_batch_begin = twice
        callbacks.append(one)

    with training.observed(signalled), pytest.raises(KeyboardInterrupt), stoppable():
        trained(cell, "stopped")
    assert not after and StateFolder(tmp_path / "stopped" / "state").load() is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_that_is_ignored_or_handled_stays_so():
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda number, frame: None):
            signal.signal(signal.SIGINT, handler)
            with stoppable():
                assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
