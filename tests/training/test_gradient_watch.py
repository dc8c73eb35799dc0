"""What each part of the loss does to the student: measured truly, told at once, and no bit of the training changed."""

import numpy as np
import pytest
import torch
from distilling import CLASSES, EXAMPLES, made, net
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes import KD
from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.losses.hint import Hint
from kdrecipes.training.gradient_watch import STEPS_FOR_ONE, GradientWatch, due


class Rows(keras.callbacks.Callback):
    """Keeps what each epoch measured, as the run's keeper does."""

    def __init__(self, watch):
        super().__init__()
        self.watch, self.figures = watch, []

    def on_epoch_end(self, epoch, logs=None):
        self.figures.append(self.watch.figures)


def watched(distiller, data, epochs=1, batch_size=EXAMPLES):
    told = []
    watch = GradientWatch(distiller, "kd-0", told.append)
    rows = Rows(watch)
    callbacks = [watch, rows]
    distiller.fit(*data, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0, callbacks=callbacks)
    return rows.figures, told


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_figures_are_the_norms_of_the_gradients_in_the_logits(data, teacher):
    """By hand: of cross-entropy (p − y) / n, of T² · KL at temperature T it is T · (p_T − q_T) / n."""
    images, labels = data
    student, temperature, weight, label_weight = net(3, norm=False), 3.0, 0.7, 0.2
    mine = keras.ops.convert_to_numpy(student(images)).astype(np.float64)
    theirs = keras.ops.convert_to_numpy(teacher(images)).astype(np.float64)
    own = label_weight * (softmax(mine) - np.eye(CLASSES)[labels]) / EXAMPLES
    term = weight * temperature * (softmax(mine / temperature) - softmax(theirs / temperature)) / EXAMPLES
    distiller = made(student, teacher=teacher, loss=KD(temperature), weight=weight, label_weight=label_weight)
    [figures], told = watched(distiller, data)
    assert figures.keys() == {"gradient_label_loss", "gradient_kd"} and told == []
    assert figures["gradient_label_loss"] == pytest.approx(np.linalg.norm(own), rel=1e-5)
    assert figures["gradient_kd"] == pytest.approx(np.linalg.norm(term), rel=1e-4)


def test_without_a_label_weight_the_labels_are_measured_with_a_weight_of_one(data, teacher):
    def measured(label_weight):
        student = net(3)
        return watched(made(student, teacher=teacher, loss=KD(2.0), label_weight=label_weight), data)[0][0]

    assert measured(0.0) == measured(1.0)


def hint(weight=1.0):
    return {"loss": [KD(2.0), Hint(student_layers=["feature"], teacher_layers=["feature"])], "weight": [1.0, weight]}


@pytest.mark.parametrize("features", [False, True])
def test_the_training_keeps_every_bit(data, teacher, features):
    def weights_after(watching):
        seed_everything(0)
        options = hint() if features else {"loss": KD(2.0)}
        distiller = made(net(3, dropout=0.5, l2=1e-3), keras.optimizers.Adam(0.01), teacher=teacher, **options)
        if watching:
            figures, _ = watched(distiller, data, epochs=3, batch_size=5)
            assert figures[0].keys() >= {"gradient_label_loss", "gradient_kd"}
            assert ("gradient_hint" in figures[0]) is features and bool(figures[1]) is not features
        else:
            distiller.fit(*data, epochs=3, batch_size=5, shuffle=False, verbose=0)
        assert distiller.learner.listener is None
        return [v.numpy() for v in (*distiller.student.variables, *distiller.optimizer.variables)]

    for mine, theirs in zip(weights_after(True), weights_after(False), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_term_on_features_is_measured_in_the_weights(data, teacher):
    seed_everything(0)
    student = net(3, norm=False)
    distiller = made(student, teacher=teacher, **hint(0.5))
    term = distiller.terms[1]
    feature = keras.Model(student.input, student.get_layer("feature").output)(data[0])
    theirs = keras.Model(teacher.input, teacher.get_layer("feature").output)(data[0]).detach()
    values = [v.value for v in student.trainable_variables]

    class Features:
        def __init__(self, one):
            self.features = {"feature": one}

    expected = torch.autograd.grad(
        0.5 * term(None, Features(feature), Features(theirs)).mean(), values, allow_unused=True
    )
    norm = np.sqrt(sum(float((one.double() ** 2).sum()) for one in expected if one is not None))
    [figures], _ = watched(distiller, data)
    assert figures["gradient_hint"] == pytest.approx(norm, rel=1e-4)


def nothing(labels, student, teacher):
    return (student.logits.detach() - teacher.logits).square().mean(1)


def test_a_term_that_moves_nothing_is_told_at_the_first_step(data, teacher):
    figures, told = watched(made(teacher=teacher, loss=nothing), data, epochs=2)
    assert [one["gradient_nothing"] for one in figures] == [0.0, 0.0]
    assert len(told) == 1 and told[0].startswith("kd-0: The term 'nothing' does not move the student: its gradient is ")
    _, told = watched(made(teacher=teacher, loss=KD(2.0), weight=1e-9), data)
    assert len(told) == 1 and "at most" in told[0] and "of the label loss's. Look at its weight" in told[0]


def test_a_term_that_drowns_the_labels_is_told_and_not_where_there_is_nothing_to_drown(data, teacher):
    _, told = watched(made(teacher=teacher, loss=KD(1.0), weight=1e5), data)
    assert len(told) == 1 and told[0].startswith("kd-0: The gradient of the term 'kd' is ")
    assert watched(made(teacher=teacher, loss=KD(1.0), weight=1e5, label_weight=0.0), data)[1] == []
    assert watched(made(teacher=teacher, loss=KD(1.0)), data)[1] == []


class Late:
    """Begins with nothing."""

    name = "late"

    def __init__(self):
        self.share = 0.0

    def at(self, progress):
        self.share = min(progress, 1.0)

    def __call__(self, labels, student, teacher):
        return self.share * (student.logits - teacher.logits).square().mean(1)


def test_a_term_with_a_schedule_is_judged_when_it_has_begun(data, teacher):
    figures, told = watched(made(teacher=teacher, loss=Late()), data, epochs=2)
    assert told == [] and "gradient_late" not in figures[0] and figures[1]["gradient_late"] > 0


class Once(torch.autograd.Function):
    """A stranger's pass back that works a single time."""

    done = 0

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Once.done += 1
        if Once.done == 1:
            raise RuntimeError("no")
        return gradient


def test_a_term_that_cannot_be_measured_trains_on(data, teacher):
    Once.done = 0

    def fragile(labels, student, heard):
        return Once.apply(student.logits).square().mean(1)

    figures, told = watched(made(teacher=teacher, loss=fragile), data, epochs=3)
    assert figures == [{}, {}, {}] and told == [] and Once.done == 4


@given(st.integers(1, 2000), st.integers(0, 4), st.integers(1, 60))
def test_measuring_takes_less_than_a_hundredth_of_the_steps_after_the_first(steps, passes, epochs):
    taken = sum(due(epoch, steps, passes) for epoch in range(epochs))
    assert due(0, steps, passes)
    assert taken == epochs if not passes else passes * (taken - 1) <= epochs * steps / STEPS_FOR_ONE
