"""A term's weight over a fit: the values promised, in force at each step, the same after an interruption, logged."""

import math

import numpy as np
import pytest
from distilling import EXAMPLES, fit, made, net
from hypothesis import given
from hypothesis import strategies as st
from samples import student_arrays
from test_gradient_watch import watched

import kdrecipes
from kdrecipes import KD
from kdrecipes.backend import keras
from kdrecipes.recipe.tables import ScheduleTable
from kdrecipes.report.history import read_history
from kdrecipes.training import fit as training
from kdrecipes.training.term_schedule import weight_over

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    ("table", "weights"),
    [
        (ScheduleTable("warmup", length=0.1), (0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5)),
        (ScheduleTable("warmup", length=1.0), (0.0, 0.025, 0.05, 0.125, 0.25, 0.375, 0.5)),
        (ScheduleTable("linear", start=1.0, end=0.0, length=1.0), (0.5, 0.475, 0.45, 0.375, 0.25, 0.125, 0.0)),
        (ScheduleTable("linear", start=0.2, end=3.0, length=0.5), (0.1, 0.24, 0.38, 0.8, 1.5, 1.5, 1.5)),
        (
            ScheduleTable("cosine", start=1.0, end=0.0, length=1.0),
            [0.25 * (1 + math.cos(math.pi * share)) for share in SHARES],
        ),
        (ScheduleTable("cosine", start=0.0, end=1.0, length=0.5), (0.0, None, None, 0.25, 0.5, 0.5, 0.5)),
    ],
    ids=["warmup", "warmup over the run", "linear", "linear up and stay", "cosine", "cosine up and stay"],
)
def test_a_weight_has_the_promised_values_along_the_fit(table, weights):
    at = weight_over(0.5, table)
    for share, weight in zip(SHARES, weights, strict=True):
        assert weight is None or at(share) == pytest.approx(weight, abs=1e-15)


def test_a_constant_schedule_and_none_are_the_number_itself():
    assert weight_over(0.7, None) == weight_over(0.7, ScheduleTable("constant")) == 0.7


@given(
    st.sampled_from(["linear", "cosine"]),
    *(st.floats(0, 10, allow_subnormal=False) for _ in range(3)),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_a_weight_stays_between_its_ends_and_keeps_the_last_one_exactly(name, weight, start, end, length, share):
    at = weight_over(weight, ScheduleTable(name, start=start, end=end, length=length))
    low, high = sorted((weight * start, weight * end))
    assert low - 1e-9 <= at(share) <= high + 1e-9
    assert at(0.0) == weight * start and at(1.0) == at(length) == weight * end


class Seen(keras.callbacks.Callback):
    """The weights in force after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(list(self.model.term_weights))


def test_a_function_gives_the_weight_of_each_step_by_the_share_of_the_fit_that_is_done(data, teacher):
    seen = Seen()
    distiller = made(teacher=teacher, loss=[KD(), KD()], weight=[lambda done: 2.0 * done, 0.3])
    history = fit(distiller, *data, batch_size=EXAMPLES // 2, epochs=2, callbacks=[seen])
    assert seen.weights == [[0.0, 0.3], [0.5, 0.3], [1.0, 0.3], [1.5, 0.3]]
    assert history["weight_kd"] == pytest.approx([0.25, 1.25])  # the mean of each epoch
    assert "weight_kd_2" not in history


def test_a_fit_that_goes_on_has_the_weights_of_the_whole_one(data, teacher):
    seen = Seen()
    distiller = made(teacher=teacher, loss=KD(), weight=lambda done: done)
    fit(distiller, *data, batch_size=EXAMPLES // 2, epochs=4, initial_epoch=3, callbacks=[seen])
    assert seen.weights == [[0.75], [0.875]]


def test_the_weight_in_force_is_what_the_step_uses(data, teacher):
    """Two steps of gradient descent with weights 0.2 and 0.6 by hand end where the schedule ends."""
    images, labels = data

    def weights_after(step):
        student = net(3)
        for distiller, epochs in step(student):
            distiller.fit(images, labels, batch_size=EXAMPLES, epochs=epochs, shuffle=False, verbose=0)
        return [v.numpy() for v in student.trainable_variables]

    scheduled = weights_after(
        lambda student: [(made(student, teacher=teacher, loss=KD(), weight=lambda done: 0.2 + 0.8 * done), 2)]
    )
    by_hand = weights_after(
        lambda student: [(made(student, teacher=teacher, loss=KD(), weight=weight), 1) for weight in (0.2, 0.6)]
    )
    for a, b in zip(scheduled, by_hand, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_evaluation_has_no_weight_among_its_figures(data, teacher):
    distiller = made(teacher=teacher, loss=KD(), weight=lambda done: 1 - done)
    history = fit(distiller, *data, batch_size=EXAMPLES, validation_data=data)
    assert "weight_kd" in history and "val_weight_kd" not in history


@pytest.mark.parametrize("weight", [lambda done: -0.1, lambda done: math.nan, lambda done: "1"])
def test_a_function_that_gives_no_weight_is_told(teacher, weight):
    with pytest.raises(ValueError, match=r"`weight`: a number of 0 or more\. Received: .* of its function, when 0 of"):
        made(teacher=teacher, loss=KD(), weight=weight)


def test_gradients_are_measured_with_the_weight_in_force_and_not_where_that_is_nothing(data, teacher):
    constant, _ = watched(made(net(3), teacher=teacher, loss=KD(2.0), weight=0.5), data)
    half, _ = watched(made(net(3), teacher=teacher, loss=KD(2.0), weight=lambda done: 0.25 + done), data)
    assert half[0]["gradient_kd"] == pytest.approx(constant[0]["gradient_kd"] / 2, rel=1e-5)
    late, told = watched(made(net(3), teacher=teacher, loss=KD(2.0), weight=lambda done: done), data, epochs=2)
    assert told == [] and "gradient_kd" not in late[0] and late[1]["gradient_kd"] > 0


SCHEDULE = (
    'loss={label_weight=0.5, terms=[{name="kd", temperature=2.0, schedule={name="cosine", start=0.0, end=1.0}}, '
    '{name="dist", weight=0.5, schedule={name="warmup", length=0.3}}]}'
)


@pytest.mark.slow
def test_a_run_that_was_stopped_and_goes_on_has_the_bits_and_the_weights_of_a_whole_one(tmp_path, home):
    from samples import small

    def recipe():
        return small(SCHEDULE, "compare.baseline=false", "report.images=false")

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    kdrecipes.run(recipe(), tmp_path / "whole")
    stop = lambda label, distiller, loader, callbacks: callbacks.append(Stop()) if label == "kd-0" else None  # noqa: E731
    with training.observed(stop), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(recipe(), tmp_path / "stopped")
    kdrecipes.run(recipe(), tmp_path / "stopped")
    whole, resumed = (
        [row for row in read_history(tmp_path / name / "history.jsonl") if row["arm"] == "kd"]
        for name in ("whole", "stopped")
    )
    assert [row["weight_kd"] for row in whole] == [row["weight_kd"] for row in resumed]
    assert whole[0]["weight_kd"] < 0.3 < 0.7 < whole[1]["weight_kd"] < 1
    assert whole[0]["weight_dist"] < whole[1]["weight_dist"] == pytest.approx(0.5)
    for a, b in zip(
        student_arrays(tmp_path / "whole", "kd-0"), student_arrays(tmp_path / "stopped", "kd-0"), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    page = (tmp_path / "whole" / "report.html").read_text(encoding="utf-8")
    assert f"Its weight follows a schedule: on average {whole[0]['weight_kd']:.3g} in epoch 1" in page
