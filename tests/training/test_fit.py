"""Optimisers and schedules from a recipe, class weights, the teacher's cache and preflight."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import train_of

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.report.figures import accuracy
from kdrecipes.runs import preflight as checks
from kdrecipes.runs.preflight import preflight
from kdrecipes.runs.teacher import Teacher, prepare_teacher
from kdrecipes.training.fit import balanced_weights
from kdrecipes.training.optimizer import build_optimizer

CONSTANT = {"name": "constant"}


def rates(optimizer, steps):
    schedule = optimizer._learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return [float(schedule(step)) for step in steps]
    return [float(optimizer.learning_rate)] * len(steps)


def test_warmup_cosine_rises_from_zero_and_falls_to_zero():
    train = {
        "optimizer": {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.01},
        "schedule": {"name": "warmup_cosine", "warmup": 0.2},
    }
    found = rates(build_optimizer(train_of(train), 100), [0, 10, 20, 60, 100])
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    none = {**train, "schedule": {"name": "warmup_cosine", "warmup": 0.0}}
    np.testing.assert_allclose(rates(build_optimizer(train_of(none), 100), [0, 50, 100]), [0.1, 0.05, 0], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "torch_kind", "torch_options"),
    [
        ({"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
        ({"name": "adam", "learning_rate": 0.1}, torch.optim.Adam, {}),
        (
            {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.9},
            torch.optim.SGD,
            {"momentum": 0.9},
        ),
    ],
)
def test_optimisers_step_as_torch_does(options, torch_kind, torch_options):
    optimizer = build_optimizer(train_of({"optimizer": options, "schedule": CONSTANT}), 10)
    mine = keras.Variable(np.array([1.0, -2.0], np.float32))
    theirs = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    other = torch_kind([theirs], lr=0.1, **torch_options)
    for gradient in ([0.5, 1.0], [-1.0, 2.0], [3.0, 0.1]):
        theirs.grad = torch.tensor(gradient)
        optimizer.apply([torch.tensor(gradient)], [mine])
        other.step()
    np.testing.assert_allclose(mine.numpy(), theirs.detach(), rtol=1e-5)


def test_clip_norm_bounds_the_global_norm():
    train = {
        "optimizer": {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0},
        "schedule": CONSTANT,
        "clip_norm": 1.0,
    }
    optimizer = build_optimizer(train_of(train), 10)
    a, b = keras.Variable(np.zeros(1, np.float32)), keras.Variable(np.zeros(1, np.float32))
    optimizer.apply([torch.tensor([3.0]), torch.tensor([4.0])], [a, b])
    np.testing.assert_allclose([a.numpy()[0], b.numpy()[0]], [-0.6, -0.8], rtol=1e-5)


def test_balanced_weights_make_classes_count_alike():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balanced_weights(labels, 4)
    totals = [weights[c] * (labels == c).sum() for c in (0, 1, 3)]
    np.testing.assert_allclose(totals, totals[0])
    assert weights[labels].mean() == pytest.approx(1) and weights[2] == 0


# The teacher.

TINY = [
    "teacher.width=4",
    "teacher.depth=1",
    'dataset.train="train[:320]"',
    "dataset.validation=0.2",
    "teacher.train.epochs=1",
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))


def tiny(*more):
    recipe = kdrecipes.load_recipe("digits", [*TINY, *more])
    return recipe, recipe.teacher, prepare(recipe)


def test_fine_tuned_teacher_is_kept_and_reused(home):
    notes = []
    first = prepare_teacher(*tiny(), note=notes.append)
    again = prepare_teacher(*tiny("student.width=2", "train.epochs=9", "loss.temperature=9"), note=notes.append)
    assert (first.reused, again.reused) == (False, True)
    assert first.fingerprint == again.fingerprint and first.rows == again.rows and again.seconds > 0
    assert len(notes) == 1 and "earlier run" in notes[0]


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "teacher.width=5",
        "teacher.train.epochs=2",
        "teacher.train.batch_size=16",
        "dataset.views.flip=true",
        "dataset.validation=0.3",
        'dataset.train="train[:300]"',
    ],
)
def test_whatever_the_weights_depend_on_makes_another_teacher(home, change):
    prepare_teacher(*tiny(), note=print)
    assert not prepare_teacher(*tiny(change), note=print).reused


def test_damaged_teacher_file_is_trained_again(home, tmp_path):
    first = prepare_teacher(*tiny(), note=print)
    (file,) = (tmp_path / "home" / "teachers").glob("*/weights")
    file.write_bytes(file.read_bytes()[:-1])
    again = prepare_teacher(*tiny(), note=print)
    assert not again.reused and again.fingerprint == first.fingerprint


class Says:
    """A stand-in model that gives fixed logits."""

    def __init__(self, logits):
        self.logits = logits


@pytest.fixture
def judged(monkeypatch):
    *_, data = tiny()
    monkeypatch.setattr(checks, "predict", lambda model, split, size, **_: model.logits[: len(split)])
    return lambda logits: preflight(Teacher(Says(logits), ""), data, 8), data.validation.labels


def test_preflight_passes_a_good_teacher(judged):
    judge, labels = judged
    assert judge(5 * np.eye(10, dtype=np.float32)[labels]) == []


def test_saying_always_the_same_is_no_better_than_a_teacher_of_skewed_data(monkeypatch):
    """Nine of ten images are of one class. On pixels of another range the teacher says that class of every image."""
    *_, data = tiny()
    part = data.validation
    labels = np.where(np.arange(len(part.store)) % 10, 0, 1 + np.arange(len(part.store)) // 10 % 9)
    data = replace(data, validation=replace(part, store=replace(part.store, labels=labels)))
    guess = np.where(np.arange(len(part)) % 4, data.validation.labels, 9)  # three of four right

    def says(model, split, size, *, scale=1.0, offset=0.0):
        said = guess[: len(split)] if scale == 1 else np.zeros(len(split), int)
        return 5 * np.eye(10, dtype=np.float32)[said]

    monkeypatch.setattr(checks, "predict", says)
    assert accuracy(says(None, part, 8, scale=0.1), data.validation.labels) > 0.8
    assert preflight(Teacher(Says(None), ""), data, 8) == []


def test_preflight_finds_logits_that_are_not_finite(judged):
    judge, labels = judged
    logits = 5 * np.eye(10, dtype=np.float32)[labels]
    logits[3, 4] = np.nan
    assert judge(logits)[0].startswith("1 of ")


def test_preflight_tells_probabilities_from_logits(judged):
    judge, labels = judged
    probabilities = np.full((len(labels), 10), 0.05, np.float32)
    probabilities[np.arange(len(labels)), labels] = 0.55
    assert judge(probabilities) == ["its outputs are probabilities, not logits; build it without its softmax"]


def test_preflight_wants_two_standard_errors_above_chance(judged):
    judge, labels = judged
    n = len(labels)
    least = int(np.ceil(n * (0.1 + 2 * np.sqrt(0.09 / n))))
    for right, passes in ((least, True), (least - 1, False)):
        guess = np.where(np.arange(n) < right, labels, (labels + 1) % 10)
        assert (judge(5 * np.eye(10, dtype=np.float32)[guess]) == []) is passes
