"""Labels of -1: such an example is taught by the terms alone, and no mean over labels counts it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distilling import CLASSES, EXAMPLES, fit, logits_of, made, net, same, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrecipes import KD, Distiller
from kdrecipes.backend import keras
from kdrecipes.training.batches import known, mean_over_labelled
from kdrecipes.training.metrics import Accuracy

HIDDEN = np.arange(EXAMPLES) % 3 > 0  # two of three


@pytest.fixture
def partly(data):
    images, labels = data
    return images, np.where(HIDDEN, -1, labels)


def one_hot(labels):
    return np.eye(CLASSES, dtype="float32")[labels] * (labels >= 0)[:, None]


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
def test_a_step_is_torchs_own(partly, teacher, rows, with_weights):
    images, labels = partly
    weights = np.linspace(0.2, 2.0, EXAMPLES).astype("float32") if with_weights else None
    student, twin = net(2), net(2)
    distiller = made(student, keras.optimizers.SGD(0.2), teacher=teacher, loss=KD(1.0), weight=0.7, label_weight=0.4)
    history = fit(distiller, images, one_hot(labels) if rows else labels, batch_size=EXAMPLES, sample_weight=weights)
    s, t = twin(torch.from_numpy(images), training=True), logits_of(teacher, images)
    own, w = torch.from_numpy(~HIDDEN), torch.ones(EXAMPLES) if weights is None else torch.from_numpy(weights)
    ce = (F.cross_entropy(s[own], torch.from_numpy(labels)[own], reduction="none") * w[own]).mean()
    kl = (F.kl_div(s.log_softmax(-1), t.log_softmax(-1), log_target=True, reduction="none").sum(-1) * w).mean()
    (0.4 * ce + 0.7 * kl).backward()
    for mine, theirs in zip(student.trainable_weights, twin.trainable_weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), (theirs.value - 0.2 * theirs.value.grad).detach().numpy(), atol=1e-5)
    assert history["label_loss"] == pytest.approx(ce.item(), rel=1e-5)
    assert history["kd"] == pytest.approx(kl.item(), rel=1e-5)
    right = s[own].argmax(-1) == torch.from_numpy(labels)[own]
    assert history["accuracy"] == pytest.approx(right.float().mean().item())


def test_metrics_of_keras_and_ours_count_the_labelled_over_all_batches(partly, teacher):
    images, labels = partly
    options = {"teacher": teacher, "loss": KD(), "student": net(1)}
    student = net(1)
    distiller = Distiller(**{**options, "student": student})
    distiller.compile(
        keras.optimizers.SGD(0.0),
        metrics=["accuracy", Accuracy("ours"), keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
        weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(name="ce", from_logits=True)],
    )
    twin = net(1)
    history = fit(distiller, images, labels, batch_size=EXAMPLES)
    s = twin(torch.from_numpy(images), training=True)[torch.from_numpy(~HIDDEN)]
    y = torch.from_numpy(labels[~HIDDEN])
    assert history["accuracy"] == history["ours"] == pytest.approx((s.argmax(-1) == y).float().mean().item())
    top2 = (s.topk(2).indices == y[:, None]).any(-1).float().mean().item()
    assert history["top2"] == pytest.approx(top2)
    assert history["ce"] == pytest.approx(F.cross_entropy(s, y).item(), rel=1e-5)
    assert history["label_loss"] == pytest.approx(F.cross_entropy(s, y).item(), rel=1e-5)


@pytest.mark.parametrize("metrics", [["accuracy"], [Accuracy()]])
def test_batches_without_a_label_weigh_nothing(data, teacher, metrics):
    images, labels = data
    labels = np.where(np.arange(EXAMPLES) < 10, -1, labels)
    distiller = Distiller(student=net(1), teacher=teacher, loss=KD())
    distiller.compile(keras.optimizers.SGD(0.0), metrics=metrics)
    history = fit(distiller, images, labels, batch_size=10)
    alone = fit(made(net(1), keras.optimizers.SGD(0.0), teacher=teacher, loss=KD()), images[10:], labels[10:])
    assert history["label_loss"] == pytest.approx(alone["label_loss"], rel=1e-6)
    assert history["accuracy"] == pytest.approx(alone["accuracy"])


def test_no_label_at_all_leaves_the_terms(data, teacher):
    images, _ = data
    student, twin = net(3), net(3)
    history = fit(made(student, teacher=teacher, loss=KD()), images, np.full(EXAMPLES, -1), batch_size=10)
    fit(made(twin, teacher=teacher, loss=KD(), label_weight=0), images, batch_size=10)
    assert history["label_loss"] == 0 and same(snapshot(student), snapshot(twin))


def test_evaluate_counts_the_labelled(partly):
    images, labels = partly
    distiller = made(net(1))
    found = distiller.evaluate(images, labels, batch_size=6, verbose=0, return_dict=True)
    alone = distiller.evaluate(images[~HIDDEN], labels[~HIDDEN], batch_size=6, verbose=0, return_dict=True)
    assert found == pytest.approx(alone, rel=1e-6)


def test_label_smoothing_leaves_examples_without_labels_alone(partly, teacher):
    images, labels = partly
    for y in (labels, one_hot(labels)):
        student = net(2)
        history = fit(
            made(student, keras.optimizers.SGD(0.0), teacher=teacher, loss=KD(), label_smoothing=0.3),
            images,
            y,
            batch_size=EXAMPLES,
        )
        s = net(2)(torch.from_numpy(images), training=True)[torch.from_numpy(~HIDDEN)]
        wanted = F.cross_entropy(s, torch.from_numpy(labels[~HIDDEN]), label_smoothing=0.3).item()
        assert history["label_loss"] == pytest.approx(wanted, rel=1e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.booleans(), st.floats(0, 3, width=32)), min_size=1))
def test_a_mean_over_the_labelled_is_what_the_others_do_not_change(rows):
    values, labelled, weights = (torch.tensor(column) for column in zip(*rows, strict=True))
    mean, count = mean_over_labelled(values, labelled, weights)
    assert int(count) == int(labelled.sum())
    wanted = (values * weights)[labelled].mean() if labelled.any() else torch.tensor(0.0)
    assert torch.allclose(mean, wanted, atol=1e-5)
    other, _ = mean_over_labelled(torch.where(labelled, values, float("inf")), labelled, weights)
    assert torch.equal(other, mean)


def test_minus_one_and_rows_of_nothing_are_no_labels():
    assert known(torch.tensor([0, -1, 4])).tolist() == [True, False, True]
    rows = torch.tensor([[0.0, 1.0], [0.0, 0.0], [-1.0, -1.0], [0.5, 0.5]])
    assert known(rows).tolist() == [True, False, False, True]
