"""`Distiller`: what it computes, what it leaves alone, what it refuses."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distilling import CLASSES, EXAMPLES, SIZE, constant, counting, fit, layers, logits_of, made, net, same, snapshot

from kdrecipes import KD, Distiller, Hint
from kdrecipes.backend import keras, seed_everything

# What is computed


@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("norm", [True, False])
def test_fit_equals_a_hand_written_torch_loop(data, teacher, with_weights, norm):
    images, labels = data
    weights = np.linspace(0.2, 2.0, EXAMPLES).astype("float32") if with_weights else None
    student, l2, rate = net(2, l2=0.01, norm=norm), 0.01, 0.2
    distiller = made(student, keras.optimizers.SGD(rate), teacher=teacher, loss=KD(3.0), weight=0.7, label_weight=0.4)
    twin = net(2, l2=0.01, norm=norm)
    parameters = [v.value for v in twin.trainable_variables]
    optimizer = torch.optim.SGD(parameters, rate)
    losses = []
    for _ in range(2):
        for start in range(0, EXAMPLES, 8):
            batch = slice(start, start + 8)
            x, y = torch.from_numpy(images[batch]), torch.from_numpy(labels[batch])
            s, t = twin(x, training=True), logits_of(teacher, x)
            ce = F.cross_entropy(s, y, reduction="none")
            kl = F.kl_div((s / 3).log_softmax(-1), (t / 3).log_softmax(-1), log_target=True, reduction="none").sum(-1)
            w = torch.from_numpy(weights[batch]) if with_weights else 1.0
            loss = (0.4 * ce * w).mean() + (0.7 * 9 * kl * w).mean() + l2 * twin.layers[2].kernel.value.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item() * len(x))
    history = fit(distiller, images, labels, batch_size=8, epochs=2, sample_weight=weights)
    assert history["loss"][1] == pytest.approx(sum(losses[3:]) / EXAMPLES, rel=1e-4)
    for mine, theirs in zip(student.weights, twin.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)


def test_one_step_with_weights_and_regulariser_is_torchs_to_1e_6(data, teacher):
    images, labels = data
    student, twin = net(2, l2=0.05), net(2, l2=0.05)
    class_weight = {0: 0.5, 1: 2.0, 2: 1.0, 3: 3.0, 4: 0.0}
    fit(made(student, teacher=teacher, loss=KD()), images, labels, batch_size=EXAMPLES, class_weight=class_weight)
    s, t = twin(torch.from_numpy(images), training=True), logits_of(teacher, images)
    w, y = torch.tensor([class_weight[int(c)] for c in labels]), torch.from_numpy(labels)
    kl = F.kl_div((s / 4).log_softmax(-1), (t / 4).log_softmax(-1), log_target=True, reduction="none").sum(-1)
    ((F.cross_entropy(s, y, reduction="none") + 16 * kl) * w).mean().add(twin.losses[0]).backward()
    for mine, theirs in zip(student.trainable_variables, twin.trainable_variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), (theirs.value - 0.1 * theirs.value.grad).detach(), atol=1e-6)


def test_the_epochs_figures_are_means_over_examples(data, teacher):
    images, labels = data
    terms = [KD(2.0), KD(2.0), constant(3.0), lambda labels, student, teacher: student.logits.sum() * 0 + 0.5]
    terms[3].__name__ = "loss"
    student = net(norm=False)
    distiller = made(
        student, keras.optimizers.SGD(0.0), teacher=teacher, loss=terms, weight=[0.5, 0.25, 2.0, 1.0], label_weight=0.3
    )
    history = fit(distiller, images, labels, batch_size=8)  # 8 + 8 + 4
    expected = F.cross_entropy(logits_of(student, images), torch.from_numpy(labels)).item()
    assert history["label_loss"] == pytest.approx(expected, rel=1e-5)
    names = set(history) - {"loss", "label_loss", "accuracy"}
    assert names == {"kd", "kd_2", "<lambda>", "loss_2"}
    assert history["kd"] == pytest.approx(history["kd_2"])
    s, t = logits_of(student, images), logits_of(teacher, images)
    kl = F.kl_div((s / 2).log_softmax(-1), (t / 2).log_softmax(-1), log_target=True, reduction="batchmean") * 4
    assert history["kd"] == pytest.approx(kl.item(), rel=1e-4)
    assert (history["<lambda>"], history["loss_2"]) == (3.0, 0.5)
    assert history["loss"] == pytest.approx(0.3 * expected + 0.75 * kl.item() + 6.0 + 0.5, rel=1e-5)
    assert history["accuracy"] == pytest.approx((s.argmax(1).numpy() == labels).mean())


def test_label_smoothing_is_for_training_only(data):
    images, labels = data
    student = net(norm=False)
    distiller = made(student, keras.optimizers.SGD(0.0), label_smoothing=0.2)
    history = fit(distiller, images, labels, batch_size=EXAMPLES, validation_data=data)
    logits, y = logits_of(student, images), torch.from_numpy(labels)
    assert history["label_loss"] == pytest.approx(F.cross_entropy(logits, y, label_smoothing=0.2).item(), rel=1e-5)
    assert history["val_loss"] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)


@pytest.mark.parametrize("form", ["one-hot", "column", "int32"])
def test_labels_in_other_forms_give_the_same_figures(data, teacher, form):
    images, labels = data
    other = {"one-hot": np.eye(CLASSES)[labels], "column": labels[:, None], "int32": labels.astype("int32")}[form]
    one, two = (fit(made(teacher=teacher, loss=KD()), images, y, validation_data=(images, y)) for y in (labels, other))
    assert one == pytest.approx(two, rel=1e-5)


def test_scalar_terms_ignore_sample_weight_and_wrong_shapes_are_refused(data):
    images, labels = data
    scalar = lambda labels, student, teacher: student.logits.square().mean()  # noqa: E731
    history = [
        fit(made(loss=scalar, label_weight=0), images, labels, batch_size=EXAMPLES, sample_weight=w)["loss"]
        for w in (None, np.zeros(EXAMPLES))
    ]
    assert history[0] == pytest.approx(history[1])
    with pytest.raises(ValueError, match=r"\(batch,\) values or a scalar. Received: shape \(20, 5\)"):
        fit(made(loss=lambda labels, s, t: s.logits), images, labels)


def test_variables_of_one_path_do_not_keep_their_gradients(data):
    """Keras knows torch parameters by path; two nested models easily share one."""

    def student():
        seed_everything(0)
        parts = []
        for name in ("a", "b"):
            pixels = keras.Input((SIZE, SIZE, 3))
            parts.append(keras.Model(pixels, layers.Conv2D(3, 3, padding="same", name="conv")(pixels), name=name))
        return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *parts, layers.Flatten(), layers.Dense(CLASSES)])

    images, labels = data[0] / 255, data[1]
    mine, twin = student(), student()
    assert len({v.path for v in mine.variables}) < len(mine.variables)
    fit(made(mine), images, labels, batch_size=10, epochs=2)
    optimizer = torch.optim.SGD([v.value for v in twin.variables], 0.1)
    for start in (0, 10, 0, 10):
        optimizer.zero_grad()
        batch = slice(start, start + 10)
        F.cross_entropy(twin(torch.from_numpy(images[batch])), torch.from_numpy(labels[batch])).backward()
        optimizer.step()
    for a, b in zip(mine.variables, twin.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


# Passes, and what is left alone


def test_each_network_makes_one_pass_a_step(data, monkeypatch):
    images, labels = data
    student, teacher = net(dropout=0.3), net(1)
    distiller = made(student, teacher=teacher, loss=[KD(), Hint(("feature",), ("feature",))])
    mine, theirs = counting(student, monkeypatch), counting(teacher, monkeypatch)
    fit(distiller, images, labels, batch_size=10, validation_data=data, validation_batch_size=EXAMPLES)
    assert mine == [True, True, False]
    assert theirs == [False, False]
    distiller.evaluate(images, labels, verbose=0)
    assert len(theirs) == 2


@pytest.mark.parametrize("features", [False, True])
def test_evaluate_changes_nothing_and_reports_the_cross_entropy(data, teacher, features):
    images, labels = data
    student = net(dropout=0.5)
    terms = [KD(), Hint(("feature",), ("feature",))] if features else [KD()]
    distiller = made(student, teacher=teacher, loss=terms)
    fit(distiller, images, labels)
    before, teacher_before = snapshot(distiller), snapshot(teacher)
    results = distiller.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)
    assert same(before, snapshot(distiller))
    assert same(teacher_before, snapshot(teacher))
    assert set(results) == {"loss", "accuracy"}
    expected = F.cross_entropy(logits_of(student, images), torch.from_numpy(labels)).item()
    assert results["loss"] == pytest.approx(expected, rel=1e-5)
    weights = np.linspace(0, 2, EXAMPLES)
    values = F.cross_entropy(logits_of(student, images), torch.from_numpy(labels), reduction="none").numpy()
    weighted = distiller.evaluate(images, labels, sample_weight=weights, batch_size=8, verbose=0)[0]
    assert weighted == pytest.approx((values * weights).mean(), rel=1e-5)


def test_a_term_that_is_an_ordinary_layer_is_trained(data, teacher):
    class Scaled(layers.Layer):
        def __init__(self):
            super().__init__(name="scaled")
            self.map = layers.Dense(CLASSES, use_bias=False)

        def call(self, labels, student, teacher):
            return (self.map(student.logits) - teacher.logits).square().mean(-1)

    distiller = made(teacher=teacher, loss=Scaled())
    before = distiller.terms[0].map.kernel.numpy().copy()
    assert "scaled" in fit(distiller, *data)
    assert not np.array_equal(before, distiller.terms[0].map.kernel.numpy())


# Refusals


def test_compile_refuses_a_loss():
    distiller = Distiller(student=net())
    for arguments in ({"loss": "mse"}, {"loss_weights": [1.0]}):
        with pytest.raises(ValueError, match=r"Give the distillation term to Distiller\(loss=…\)"):
            distiller.compile("sgd", **arguments)
    with pytest.raises(ValueError, match="Received: compile\\(loss='mse'"):
        distiller.compile("sgd", "mse")


def heads():
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.Flatten()(pixels)
    logits = layers.Dense(CLASSES)(x)
    yield "dense", keras.Model(pixels, layers.Dense(CLASSES, activation="softmax")(x))
    yield "activation", keras.Model(pixels, layers.Activation("softmax", dtype="float32")(logits))
    yield "layer", keras.Model(pixels, layers.Softmax()(logits))
    yield "operation", keras.Model(pixels, keras.ops.softmax(logits))
    yield "nested", keras.Sequential([pixels, keras.Model(pixels, layers.Softmax()(logits))])


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_softmax_heads_are_refused(role):
    for kind, model in heads():
        with pytest.raises(ValueError, match=f"The {role} ends in a softmax .*distillation needs logits"):
            Distiller(**{"student": net(), role: model}, loss=KD())
            pytest.fail(kind)
    if role == "teacher":
        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softmax(-1))
        with pytest.raises(ValueError, match="The teacher ends in a softmax"):
            Distiller(student=net(), teacher=module, loss=KD())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": [KD(), KD()], "weight": [1.0]}, r"`weight`: a number, or one for each term. Received: 1 for 2"),
        ({"loss": KD(), "weight": [1.0, 2.0]}, "Received: 2 for 1"),
        ({"label_weight": 0}, "nothing to train on"),
        (
            {"loss": "kd"},
            r"a term is a callable term\(labels, student, teacher\), for example KD\(temperature=4.0\). Received: 'kd'",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Distiller(student=net(), **arguments)


def test_keras_distiller_is_wrong_where_ours_is_right(data):
    """Its default term is no KL divergence of softmaxes: the logged figure differs from torch's, and ours does not."""
    images, labels = data
    student, teacher = net(0, norm=False), net(1)
    stock = keras.distillation.Distiller(
        teacher=teacher,
        student=student,
        student_loss_weight=0.0,
        distillation_losses=keras.distillation.LogitsDistillation(temperature=3.0),
    )
    stock.compile(optimizer=keras.optimizers.SGD(0.0), loss=keras.losses.SparseCategoricalCrossentropy(True))
    theirs = stock.evaluate(images, labels, verbose=0, return_dict=True, batch_size=EXAMPLES)["distillation_loss"]
    s, t = (logits_of(m, images) / 3 for m in (student, teacher))
    right = 9 * F.kl_div(s.log_softmax(-1), t.log_softmax(-1), log_target=True, reduction="batchmean").item()
    ours = fit(made(student, keras.optimizers.SGD(0.0), teacher=teacher, loss=KD(3.0)), images, labels)["kd"]
    assert ours == pytest.approx(right, rel=1e-3)
    assert abs(theirs - right) > 0.5 * right
