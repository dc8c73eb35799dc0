"""`Distiller`: what it computes, what it leaves alone, what it takes and what it refuses."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdrecipes import KD, Distiller, Hint
from kdrecipes.backend import keras, seed_everything
from kdrecipes.data.loader import Loader, Split
from kdrecipes.training.projector import Projected

CLASSES, SIZE, EXAMPLES = 5, 6, 20
layers = keras.layers


def net(seed=0, width=3, size=SIZE, *, norm=True, dropout=0.0, l2=None, dtype=None, low=None, stride=1):
    """Pixels → convolution → (norm) → "feature" → (dropout) → logits."""
    seed_everything(seed)
    options = {"dtype": dtype}
    pixels = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5 if low is None else 1 / 255, -1.0 if low is None else low, **options)(pixels)
    x = layers.Conv2D(width, 3, stride, "same", kernel_regularizer=l2 and keras.regularizers.L2(l2), **options)(x)
    if norm:
        x = layers.BatchNormalization(momentum=0.9, **options)(x)
    x = layers.ReLU(name="feature", **options)(x)
    if dropout:
        x = layers.Dropout(dropout, **options)(x)
    x = layers.GlobalAveragePooling2D(**options)(x)
    return keras.Model(pixels, layers.Dense(CLASSES, name="head", **options)(x))


def nested(seed=0, width=3, kind="sequential"):
    """The same with a backbone that is a model of its own."""
    seed_everything(seed)
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU(name="feature")(layers.Conv2D(width, 3, padding="same")(pixels))
    body = keras.Model(pixels, x, name="body")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
    if kind == "sequential":
        return keras.Sequential([keras.Input((SIZE, SIZE, 3)), body, *head])
    pixels = keras.Input((SIZE, SIZE, 3))
    return keras.Model(pixels, head[1](head[0](body(pixels))))


class TorchNet(torch.nn.Module):
    """A torch teacher with everything that listens to the training mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
        self.head = torch.nn.Linear(4, CLASSES)
        self.body[1].eval()  # a mode of its own, which must survive

    def forward(self, image):
        assert image.shape[-1] == 3
        return self.head(self.body(image.permute(0, 3, 1, 2) / 255).mean((2, 3)))


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = (generator.random((EXAMPLES, SIZE, SIZE, 3)) * 255).astype("float32")
    return images, generator.integers(0, CLASSES, EXAMPLES)


@pytest.fixture(scope="module")
def teacher():
    return net(1, width=3)


def made(student=None, optimizer=None, **options):
    distiller = Distiller(student=student or net(), **options)
    distiller.compile(optimizer or keras.optimizers.SGD(0.1), metrics=["accuracy"])
    return distiller


def fit(distiller, *args, **options):
    history = distiller.fit(*args, verbose=0, **{"shuffle": False, **options}).history
    return {name: values if len(values) > 1 else values[0] for name, values in history.items()}


def snapshot(model):
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.variables]


def same(before, after):
    return len(before) == len(after) and all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def logits_of(model, images, training=False):
    with torch.no_grad():
        return model(torch.as_tensor(images), training=training)


def counting(model, monkeypatch):
    calls = []
    stock = model.call

    def call(*args, **kwargs):
        if not args[0].is_meta:  # Keras' symbolic call before the first step
            calls.append(kwargs.get("training"))
        return stock(*args, **kwargs)

    monkeypatch.setitem(model.__dict__, "call", call)
    return calls


def constant(value):
    return lambda labels, student, teacher: student.logits.new_full((len(student.logits),), value)


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


def test_one_step_with_weights_and_regulariser_to_1e_6(data, teacher):
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
def test_labels_in_other_forms(data, teacher, form):
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


# Passes, teacher, what is left alone


def test_one_pass_of_each_network_a_step(data, monkeypatch):
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


def test_keras_teacher_is_neither_tracked_nor_changed(data, tmp_path):
    images, labels = data
    teacher = net(1, dropout=0.5)
    teacher.get_layer("head").trainable = False
    before, flags = snapshot(teacher), [layer.trainable for layer in teacher.layers]
    distiller = made(teacher=teacher, loss=[KD(), Projected(Hint(("feature",), ("feature",)))])
    fit(distiller, images, labels, batch_size=8, epochs=2)
    assert same(before, snapshot(teacher))
    assert flags == [layer.trainable for layer in teacher.layers]
    assert all(v.value.grad is None for v in teacher.trainable_variables)
    theirs = {id(v) for v in teacher.variables}
    for variables in (distiller.variables, distiller.trainable_variables, distiller.weights):
        assert not theirs & {id(v) for v in variables}
    assert not {id(v.value) for v in teacher.variables} & {id(p) for p in distiller.parameters()}
    assert len(distiller._flatten_layers()) == len(set(map(id, distiller._flatten_layers())))
    distiller.save_weights(tmp_path / "d.weights.h5")
    saved = distiller.get_weights()
    fit(distiller, images, labels)
    distiller.load_weights(tmp_path / "d.weights.h5")
    assert same(saved, distiller.get_weights())
    import h5py

    with h5py.File(tmp_path / "d.weights.h5") as file:
        values = []
        file.visititems(lambda _, item: values.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    kernels = [v.numpy() for v in teacher.variables if "kernel" in v.path]
    assert values
    assert not any(np.array_equal(value, kernel) for value in values for kernel in kernels)


@pytest.mark.parametrize("wrapped", [False, True])
def test_torch_teacher_keeps_modes_and_statistics(data, wrapped):
    images, labels = data
    module = TorchNet()
    teacher = module
    if wrapped:
        pixels = keras.Input((SIZE, SIZE, 3))
        teacher = keras.Model(pixels, layers.TorchModuleWrapper(module, output_shape=(None, CLASSES))(pixels))
    state = copy.deepcopy(module.state_dict())
    modes = [m.training for m in module.modules()]
    assert True in modes
    assert False in modes
    module.requires_grad_(True)
    student = net()
    distiller = made(student, keras.optimizers.SGD(0.0), teacher=teacher, loss=KD(1.0))
    history = fit(distiller, images, labels, batch_size=EXAMPLES, validation_data=data)
    assert modes == [m.training for m in module.modules()]
    assert all(torch.equal(a, b) for a, b in zip(state.values(), module.state_dict().values(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not {id(p) for p in module.parameters()} & {id(p) for p in distiller.parameters()}
    with torch.no_grad():
        still = copy.deepcopy(module).eval()(torch.from_numpy(images)).softmax(-1)
        student_log = net()(torch.from_numpy(images), training=True).log_softmax(-1)
    assert history["kd"] == pytest.approx(F.kl_div(student_log, still, reduction="batchmean").item(), rel=1e-4)


def test_modes_come_back_after_a_failure(data):
    class Broken(TorchNet):
        def forward(self, image):
            raise RuntimeError("out of memory")

    module = Broken()
    modes = [m.training for m in module.modules()]
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(made(teacher=module, loss=KD()), *data)
    assert modes == [m.training for m in module.modules()]


def test_terms_that_keep_the_teachers_tensor_for_backward(data, teacher):
    mse = lambda labels, s, t: (s.logits * t.logits + F.mse_loss(s.logits, t.logits)).mean(-1)  # noqa: E731
    student = net()
    before = snapshot(student)
    fit(made(student, teacher=teacher, loss=mse, label_weight=0), *data)
    assert not same(before, snapshot(student))


def test_teacher_of_another_size_and_range(data):
    images, labels = data
    seen = []
    teacher = net(1, size=10, low=0.0)
    fit(made(teacher=teacher, loss=lambda labels, s, t: seen.append(t.logits) or s.logits.mean(-1)), images, labels)
    big = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), (10, 10), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen[0], logits_of(teacher, big.permute(0, 2, 3, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("teachers", ["float64", "float16", "bfloat16", "mixed_float16"])
@pytest.mark.parametrize("students", ["float64", "bfloat16", "mixed_bfloat16"])
def test_dtypes_that_differ(data, students, teachers):
    dtypes = (students, teachers)
    student, teacher = (net(seed, dtype=dtype, norm=False) for seed, dtype in enumerate(dtypes))
    seen = []

    def spy(labels, student, teacher):
        seen.append((student.logits.dtype, teacher.logits.dtype))
        return KD()(labels, student, teacher)

    distiller = made(student, teacher=teacher, loss=[spy, Hint(("feature",), ("feature",))])
    history = fit(distiller, *data, validation_data=data)
    assert all(np.isfinite(value) for value in history.values())
    wide = {"float64": torch.float64}
    assert seen[0] == tuple(wide.get(dtype, torch.float32) for dtype in dtypes)


def test_a_float16_student_gets_its_loss_scaled(teacher):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student = net()
    finally:
        keras.config.set_dtype_policy("float32")
    distiller = made(student, teacher=teacher, loss=KD())
    assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)


def test_integer_pixels(data):
    images, labels = data[0].astype("uint8"), data[1]
    for teacher in (net(1), TorchNet()):
        history = [fit(made(teacher=teacher, loss=KD()), x, labels) for x in (images, images.astype("float32"))]
        assert history[0] == pytest.approx(history[1])


def test_without_a_teacher(data):
    assert "label_loss" in fit(made(), *data)
    assert fit(made(loss=constant(2.0), weight=0.5), *data)["<lambda>"] == 2.0
    with pytest.raises(ValueError, match="reads the teacher's logits, but there is no teacher"):
        fit(made(loss=KD()), *data)
    with pytest.raises(ValueError, match=r"reads teacher_layers \['feature'\], but there is no teacher"):
        Distiller(student=net(), loss=Hint(("feature",), ("feature",)))


def test_logits_that_come_with_the_batch(data, teacher, monkeypatch):
    images, labels = data
    cached = logits_of(teacher, images).numpy().astype("float16")
    x = {"image": images, "index": np.arange(EXAMPLES, dtype="int32"), "teacher": cached}
    calls = counting(teacher, monkeypatch)
    seen = []

    def spy(labels, student, teacher):
        seen.append((student.index, teacher.index, teacher.logits))
        return KD()(labels, student, teacher)

    with_teacher, without = (fit(made(teacher=t, loss=spy), x, labels, batch_size=8) for t in (teacher, None))
    assert with_teacher == without
    assert calls == []
    live = fit(made(teacher=teacher, loss=KD()), images, labels, batch_size=8)
    assert live["kd"] == pytest.approx(without["spy"], rel=1e-2)
    calls.clear()
    assert seen[1][0].tolist() == seen[1][1].tolist() == list(range(8, 16))
    assert seen[0][0].dtype == torch.int64
    np.testing.assert_array_equal(seen[2][2], cached[16:].astype("float32"))
    # Features are not in the batch: where a term reads them the teacher is asked for them, not for its logits.
    fit(made(teacher=teacher, loss=Hint(("feature",), ("feature",))), x, labels)
    assert calls == [False]


@pytest.mark.parametrize("kind", ["plain", "nested", "torch"])
def test_features_beside_logits_that_come_with_the_batch(data, kind):
    """Losses and gradients are those of the live teacher; what comes after the deepest layer read is not run."""
    images, labels = data
    teacher = {"plain": lambda: net(1), "nested": lambda: nested(1), "torch": TorchNet}[kind]()
    head = []
    if kind == "torch":
        teacher.head.register_forward_hook(lambda *a: head.append(1))
        with torch.no_grad():
            logits = copy.deepcopy(teacher).eval()(torch.from_numpy(images)).numpy()
    else:
        logits = logits_of(teacher, images).numpy()
        last = teacher.layers[-1]
        call = last.call
        last.__dict__["call"] = lambda *a, **k: head.append(1) or call(*a, **k)
    x = {"image": images, "teacher": logits}

    def spread(labels, student, teacher):
        (feature,) = teacher.features.values()
        return (student.logits * feature.float().mean()).square().mean(-1)

    spread.teacher_layers = ("body/0",) if kind == "torch" else ("feature",)
    results = []
    for batch in (images, x):
        head.clear()
        student = net(0)
        history = fit(made(student, teacher=teacher, loss=[KD(), spread]), batch, labels, batch_size=5)
        results.append((history, snapshot(student), len(head)))
    (live, live_weights, live_runs), (given, given_weights, given_runs) = results
    assert (live_runs, given_runs) == (4, 1)
    assert given == pytest.approx(live, rel=1e-5)
    for a, b in zip(live_weights, given_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


# Features and projectors


@pytest.mark.parametrize("kind", ["sequential", "functional"])
@pytest.mark.parametrize("name", ["feature", "body/feature", "body"])
def test_features_of_nested_models(data, kind, name):
    images = data[0]
    student, teacher = nested(0, kind=kind), nested(1, kind=kind)
    history = fit(made(student, keras.optimizers.SGD(0.0), teacher=teacher, loss=Hint((name,), ("feature",))), *data)
    with torch.no_grad():
        a, b = (m.get_layer("body")(torch.from_numpy(images)) for m in (student, teacher))
    assert history["hint"] == pytest.approx((a - b).square().mean().item(), rel=1e-4)


def test_unknown_layers_name_the_nearest(teacher):
    with pytest.raises(ValueError, match=r"has no layer 'featur'\. Did you mean 'feature'\?"):
        Distiller(student=net(), teacher=teacher, loss=Hint(("featur",), ("feature",)))


def test_widths_that_differ(data):
    images, labels = data
    hint = Hint(("feature",), ("feature",))
    student, teacher = net(0, width=3), net(1, width=5)
    with pytest.raises(ValueError, match=r"\(20, 6, 6, 3\) .*\(20, 6, 6, 5\): shapes must be equal.*Projected"):
        fit(made(student, teacher=teacher, loss=hint), images, labels)
    with pytest.raises(ValueError, match="shapes must be equal"):
        fit(made(student, teacher=net(1, width=1), loss=hint), images, labels)
    student = net(0, width=3)
    distiller = made(student, teacher=teacher, loss=[Projected(hint), Projected(hint)])
    maps = [v for term in distiller.terms for v in term.variables]
    assert [v.shape for v in maps] == [(3, 5), (3, 5)]
    assert {id(v) for v in maps} <= {id(v) for v in distiller.trainable_variables}
    assert not {id(v) for v in maps} & {id(v) for v in student.variables}
    before = [v.numpy().copy() for v in maps]
    history = fit(distiller, images, labels, epochs=30)
    assert not any(np.array_equal(a, v.numpy()) for a, v in zip(before, maps, strict=True))
    assert history["hint_projected"][-1] < history["hint_projected"][0]
    assert "hint_projected_2" in history


def test_projector_gradients_are_one_steps(data):
    """A map's gradient must not add up over steps, and is the plain least-squares one."""
    images, labels = data
    student, teacher = net(0, norm=False), net(1, width=5, norm=False)
    student.trainable = False
    distiller = made(student, teacher=teacher, loss=Projected(Hint(("feature",), ("feature",))), label_weight=0)
    kernel = distiller.terms[0].maps[0].kernel
    w = kernel.value.detach().clone().requires_grad_()
    with torch.no_grad():
        x = torch.from_numpy(images)
        a, b = (keras.Model(m.input, m.get_layer("feature").output)(x) for m in (student, teacher))
    for _ in range(3):
        (gradient,) = torch.autograd.grad((a @ w - b).square().mean(), w)
        w = (w - 0.1 * gradient).detach().requires_grad_()
    fit(distiller, images, labels, batch_size=EXAMPLES, epochs=3)
    np.testing.assert_allclose(kernel.numpy(), w.detach(), atol=1e-5)


def test_projector_refuses_what_does_not_pair():
    hint = SimpleNamespace(student_layers=("a", "a"), teacher_layers=("b", "c"))
    with pytest.raises(ValueError, match="maps each student layer once"):
        Projected(hint)
    with pytest.raises(ValueError, match="equally many, and at least one"):
        Projected(SimpleNamespace(student_layers=("a",), teacher_layers=()))


def test_sizes_that_differ(data):
    term = Hint(("feature",), ("feature",))
    for loss in (term, Projected(term)):
        with pytest.raises(ValueError, match=r"sizes must agree"):
            fit(made(teacher=net(1, stride=2), loss=loss), *data)


def test_a_term_that_is_an_ordinary_layer(data, teacher):
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


# Keras' own ways


class Scheduled:
    def __init__(self):
        self.told = []
        self.student_layers = self.teacher_layers = ("feature",)

    def at(self, progress):
        self.told.append(progress)

    def __call__(self, labels, student, teacher):
        return student.logits.mean(-1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_terms_are_told_the_progress(data, teacher, wrapped):
    term = Scheduled()
    distiller = made(teacher=teacher, loss=Projected(term) if wrapped else term)
    fit(distiller, *data, batch_size=8, epochs=3, initial_epoch=1)
    assert term.told == pytest.approx([1, 4 / 3, 5 / 3, 2, 7 / 3, 8 / 3])
    term.told.clear()

    def batches():
        while True:
            yield data[0][:4], data[1][:4]

    fit(distiller, batches(), steps_per_epoch=2, callbacks=keras.callbacks.LambdaCallback())
    assert term.told == [0, 0.5]
    term.told.clear()
    stock = keras.callbacks.CallbackList([], add_history=True, model=distiller, epochs=1, steps=2)
    distiller.fit(*data, batch_size=10, callbacks=stock, verbose=0)
    assert term.told == [0, 0.5]


class Batches(torch.utils.data.Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, i):
        return {"image": self.data[0][i], "index": i}, self.data[1][i]


def test_data_of_every_kind_give_one_result(data, teacher):
    images, labels = data
    images = np.round(images)
    store = SimpleNamespace(images=images.astype("uint8"), labels=labels, index=np.arange(EXAMPLES), classes=["a"])
    loader = Loader(Split(store, np.arange(EXAMPLES)), 8, SIZE)
    torch_loader = torch.utils.data.DataLoader(Batches((images, labels)), batch_size=8)
    kinds = {
        "numpy": ((images, labels), {"batch_size": 8}),
        "torch tensors": ((torch.from_numpy(images), torch.from_numpy(labels)), {"batch_size": 8}),
        "torch DataLoader": ((torch_loader,), {}),
        "kdrecipes Loader": ((loader,), {}),
    }
    results = {}
    for name, (args, options) in kinds.items():
        distiller = made(teacher=teacher, loss=KD())
        results[name] = fit(distiller, *args, epochs=2, validation_data=args if len(args) > 1 else args[0], **options)
        x = args[0]
        assert distiller.predict(x, verbose=0).shape == (EXAMPLES, CLASSES)
    for result in results.values():
        assert result.keys() == results["numpy"].keys()
        for key, values in result.items():
            assert values == pytest.approx(results["numpy"][key], rel=1e-4), key


def test_predict_is_the_student(data):
    distiller = made()
    expected = logits_of(distiller.student, data[0])
    for x in (data[0], {"image": data[0]}):
        np.testing.assert_allclose(distiller.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_callbacks(data, teacher, tmp_path):
    file = tmp_path / "best.weights.h5"
    distiller = made(optimizer=keras.optimizers.SGD(0.0), teacher=teacher, loss=KD())
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(file, monitor="val_loss", save_best_only=True, save_weights_only=True)
    history = fit(distiller, *data, epochs=9, validation_data=data, callbacks=[stop, keep])
    assert len(history["val_loss"]) == 2
    assert file.is_file()
    distiller.load_weights(file)


def test_only_the_student_is_saved(data, teacher, tmp_path):
    distiller = made(teacher=teacher, loss=KD())
    fit(distiller, *data)
    with pytest.raises(TypeError, match=r"A Distiller is not saved; save `distiller\.student`"):
        distiller.save(tmp_path / "distiller.keras")
    distiller.student.save(tmp_path / "student.keras")
    again = keras.models.load_model(tmp_path / "student.keras", safe_mode=True, compile=False)
    np.testing.assert_allclose(logits_of(again, data[0]), logits_of(distiller.student, data[0]), atol=1e-6)


def test_data_without_labels(data, teacher):
    images = data[0]
    history = fit(made(teacher=teacher, loss=KD(), label_weight=0), images, epochs=2)
    assert set(history) == {"loss", "kd"}
    with pytest.raises(ValueError, match=r"The data have no labels\. Set label_weight=0, or give labels"):
        fit(made(teacher=teacher, loss=KD()), images)
    with pytest.raises(ValueError, match="evaluate needs labels"):
        made(teacher=teacher, loss=KD()).evaluate(images, verbose=0)


def test_labels_that_weigh_nothing_are_still_measured(data, teacher):
    history = fit(made(teacher=teacher, loss=KD(), label_weight=0), *data)
    assert history["loss"] == pytest.approx(history["kd"])
    assert {"label_loss", "accuracy"} <= set(history)


def test_two_distillers_do_not_disturb_each_other(data, teacher):
    alone = fit(made(net(0), teacher=teacher, loss=KD(), name="one"), *data, epochs=2)
    first = made(net(0), teacher=teacher, loss=KD(), name="one")
    second = made(net(5), teacher=teacher, loss=[KD(1.0), Hint(("feature",), ("feature",))])
    one = fit(first, *data)
    fit(second, *data)
    two = fit(first, *data)
    assert [one["loss"], two["loss"]] == pytest.approx(alone["loss"])


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
        ({"loss": "kd"}, r"a term is a callable, for example KD\(temperature=4.0\). Received: 'kd'"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
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


def test_a_batch_may_bring_the_teachers_own_images(data):
    """Of another size: the term then sees what the teacher says of those."""
    pixels = keras.Input((None, None, 3))
    teacher = keras.Model(pixels, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(pixels)))
    seen = []

    def term(labels, student, taught):
        seen.append(taught.logits)
        return ((student.logits - taught.logits) ** 2).mean(1)

    distiller = made(teacher=teacher, loss=term)
    images, labels = data
    own = torch.rand(len(images), 5, 5, 3)
    distiller.train_step(({"image": torch.as_tensor(images), "teacher_image": own}, labels))
    torch.testing.assert_close(seen[0], teacher(own))
