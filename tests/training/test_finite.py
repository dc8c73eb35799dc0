"""What is no number stops a fit at its step: the message says where, and nothing of it is saved."""

import math

import numpy as np
import pytest
import torch
from distilling import EXAMPLES, made, net, same, snapshot

from kdrecipes.backend import keras
from kdrecipes.errors import RunError
from kdrecipes.training.finite import FiniteWatch, StepFacts, refuse_infinite
from kdrecipes.training.keeper import Keeper
from kdrecipes.training.state import StateFolder

BATCH = 5  # 4 steps an epoch


class Spoiled:
    """A term whose values, or gradients alone, are no numbers in one step, counted from 1, for some of its examples."""

    name = "spoiled"

    def __init__(self, step, value=math.nan, rows=(1, 3)):
        self.step, self.value, self.rows, self.calls = step, value, list(rows), 0

    def __call__(self, labels, student, teacher):
        values = student.logits.sum(1) * 0
        self.calls += 1
        if self.calls == self.step:
            if self.value is None:
                return values.sqrt()  # 0, and its slope is infinite
            values[self.rows] = self.value
        return values


def fitted(data, teacher, term, *callbacks, epochs=3, **options):
    distiller = made(net(3, norm=False), teacher=teacher, loss=term, weight=0.5)
    watch = distiller.finite = FiniteWatch("kd-0", lambda step: 0.1 * 0.5**step, 4, "train {}".format, **options)
    images, labels = data
    x = {"image": images, "index": np.arange(EXAMPLES)[::-1].copy()}
    distiller.fit(x, labels, BATCH, epochs, 0, [watch, *callbacks], shuffle=False)
    return distiller


class Weights(keras.callbacks.Callback):
    """Keeps the weights as they are after each step."""

    def on_train_batch_end(self, batch, logs=None):
        self.after = snapshot(self.model.student)


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_loss_that_is_no_number_stops_before_the_step_changes_a_weight(data, teacher, value, word):
    weights, term = Weights(), Spoiled(7, value)
    with pytest.raises(RunError) as caught:
        fitted(data, teacher, term, weights)
    text = str(caught.value)
    assert f"kd-0: the loss is {word} in step 3 of epoch 2, at a learning rate of 0.00156;" in text
    assert f"spoiled {word}; the examples that are not finite are train 8, train 6." in text
    assert "label_loss 1." in text and "clip_norm" in text and "the state before it is kept" in text
    assert term.calls == 7 and same(weights.after, snapshot(weights.model.student))
    assert all(np.isfinite(one).all() for one in weights.after)


def test_a_gradient_that_is_no_number_stops_the_fit_though_the_loss_is_one(data, teacher):
    weights = Weights()
    with pytest.raises(RunError, match="the gradient of the loss is not finite in step 2 of epoch 1") as caught:
        fitted(data, teacher, Spoiled(2, None), weights)
    assert "the examples of its batch are train 14, train 13, train 12, train 11, train 10. A lower" in str(
        caught.value
    )
    assert same(weights.after, snapshot(weights.model.student))
    with pytest.raises(RunError, match="the loss is nan in step 3 of epoch 1"):  # of float16: the optimiser leaves it
        fitted(data, teacher, Spoiled(2, None), gradients=False)


def test_steps_that_are_looked_at_together_are_told_by_the_first_that_failed(data, teacher):
    term = Spoiled(2)
    with pytest.raises(RunError, match=r"the loss is nan in step 2 of epoch 1, .* are train 13, train 11"):
        fitted(data, teacher, term, together=3)
    assert term.calls == 3  # the look came then


def test_an_epoch_is_not_saved_before_its_steps_are_looked_at(data, teacher, tmp_path):
    saved = Keeper([], StateFolder(tmp_path), "kd-0", lambda rows: None)
    with pytest.raises(RunError, match="in step 3 of epoch 2"):
        fitted(data, teacher, Spoiled(7), saved, together=50)
    assert [row["epoch"] for row in StateFolder(tmp_path).load()[1]["rows"]] == [1]


def test_no_step_is_saved_before_it_is_looked_at(data, teacher, tmp_path):
    watch = FiniteWatch("kd-0", lambda step: 0.1, 4, together=50)
    saved = Keeper([], StateFolder(tmp_path), "kd-0", lambda rows: None, look=watch.look, every=0)
    saved.on_train_begin()
    for batch, value in enumerate([1.0, 1.0, math.nan]):
        watch(StepFacts(torch.tensor(value), {"label_loss": None}, None, []))
        if batch < 2:
            saved.on_train_batch_end(batch)
    with pytest.raises(RunError, match="the loss is nan in step 3"):
        saved.on_train_batch_end(2)
    assert StateFolder(tmp_path).load()[1]["steps"] == 2


def test_many_examples_are_told_by_their_number():
    watch = FiniteWatch("kd-0", lambda step: 0.1, 1)
    values = torch.full((20,), math.nan)
    with pytest.raises(RunError, match=r"are 0, 1, 2, 3, 4, 5, 6, 7 and 12 more\."):
        watch(StepFacts(values.mean(), {"label_loss": values, "kd": None}, torch.arange(20), []))


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    weights = [keras.Variable([1.0, 2.0], name="kernel"), keras.Variable(3, dtype="int64", trainable=False)]
    keeper = Keeper(weights, StateFolder(tmp_path), "kd-0", lambda rows: None)
    keeper.on_epoch_begin(0)
    keeper.on_epoch_end(0, {"loss": 1.0})
    weights[0].assign([1.0, math.inf])
    with pytest.raises(RunError, match="kd-0: the weights kernel are not finite after step 4 of epoch 2") as caught:
        keeper.on_epoch_begin(1)
        keeper.on_train_batch_end(3)
        keeper.on_epoch_end(1, {"loss": 1.0})
    assert (caught.value.fit, caught.value.epoch, caught.value.step) == ("kd-0", 2, 4)
    assert [row["epoch"] for row in StateFolder(tmp_path).load()[1]["rows"]] == [1]


def test_weights_as_large_as_float32_goes_are_numbers():
    largest = np.full(100, np.finfo(np.float32).max)
    refuse_infinite("kd-0", [keras.Variable(largest)], [largest], 1, 1)
