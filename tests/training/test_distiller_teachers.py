"""What `Distiller` does with a teacher: leaves it as it is, asks it, or takes what the batch brings."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distilling import (
    CLASSES,
    EXAMPLES,
    SIZE,
    TorchNet,
    constant,
    counting,
    fit,
    layers,
    logits_of,
    made,
    nested,
    net,
    same,
    snapshot,
)

from kdrecipes import KD, Distiller, Hint
from kdrecipes.backend import keras
from kdrecipes.training.projector import Projected


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


def test_terms_may_keep_the_teachers_tensor_for_backward(data, teacher):
    mse = lambda labels, s, t: (s.logits * t.logits + F.mse_loss(s.logits, t.logits)).mean(-1)  # noqa: E731
    student = net()
    before = snapshot(student)
    fit(made(student, teacher=teacher, loss=mse, label_weight=0), *data)
    assert not same(before, snapshot(student))


def test_a_teacher_of_another_size_and_range_is_shown_its_own(data):
    images, labels = data
    seen = []
    teacher = net(1, size=10, low=0.0)
    fit(made(teacher=teacher, loss=lambda labels, s, t: seen.append(t.logits) or s.logits.mean(-1)), images, labels)
    big = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), (10, 10), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen[0], logits_of(teacher, big.permute(0, 2, 3, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("teachers", ["float64", "float16", "bfloat16", "mixed_float16"])
@pytest.mark.parametrize("students", ["float64", "bfloat16", "mixed_bfloat16"])
def test_dtypes_may_differ_and_terms_see_float32_at_least(data, students, teachers):
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


def test_integer_pixels_count_as_floats(data):
    images, labels = data[0].astype("uint8"), data[1]
    for teacher in (net(1), TorchNet()):
        history = [fit(made(teacher=teacher, loss=KD()), x, labels) for x in (images, images.astype("float32"))]
        assert history[0] == pytest.approx(history[1])


def test_without_a_teacher_only_terms_that_need_none_are_taken(data):
    assert "label_loss" in fit(made(), *data)
    assert fit(made(loss=constant(2.0), weight=0.5), *data)["<lambda>"] == 2.0
    with pytest.raises(ValueError, match="reads the teacher's logits, but there is no teacher"):
        fit(made(loss=KD()), *data)
    with pytest.raises(ValueError, match=r"reads teacher_layers \['feature'\], but there is no teacher"):
        Distiller(student=net(), loss=Hint(("feature",), ("feature",)))


def test_logits_that_come_with_the_batch_are_used_and_nobody_is_asked(data, teacher, monkeypatch):
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
def test_features_are_read_live_beside_logits_that_come_with_the_batch(data, kind):
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


@pytest.mark.parametrize("kind", ["sequential", "functional"])
@pytest.mark.parametrize("name", ["feature", "body/feature", "body"])
def test_features_are_read_inside_nested_models(data, kind, name):
    images = data[0]
    student, teacher = nested(0, kind=kind), nested(1, kind=kind)
    history = fit(made(student, keras.optimizers.SGD(0.0), teacher=teacher, loss=Hint((name,), ("feature",))), *data)
    with torch.no_grad():
        a, b = (m.get_layer("body")(torch.from_numpy(images)) for m in (student, teacher))
    assert history["hint"] == pytest.approx((a - b).square().mean().item(), rel=1e-4)


def test_unknown_layers_name_the_nearest(teacher):
    with pytest.raises(ValueError, match=r"has no layer 'featur'\. Did you mean 'feature'\?"):
        Distiller(student=net(), teacher=teacher, loss=Hint(("featur",), ("feature",)))


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
