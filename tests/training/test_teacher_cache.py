"""`Distiller(cache_teacher=True)`: each teacher is asked once for each image, and the student is the same."""

import math

import numpy as np
import pytest
import torch
from distilling import CLASSES, EXAMPLES, SIZE, TorchNet, counting, fit, layers, logits_of, made, net, same, snapshot

from kdrecipes import KD, Hint
from kdrecipes.backend import keras, seed_everything

BATCH = 8  # leaves a last batch of 4


class OfB(KD):
    teacher = "b"


def pair(teacher_of, **options):
    """One distiller asks in every step, one keeps what it was told."""
    return [made(teacher=teacher_of(), cache_teacher=kept, **{"loss": KD(), **options}) for kept in (False, True)]


def fitted(distiller, *args, **options):
    seed_everything(3)
    return fit(distiller, *args, **{"epochs": 3, "batch_size": BATCH, "shuffle": True, **options})


def augmenting():
    """A student that draws anew what it shows itself of each image."""
    seed_everything(0)
    pixels = keras.Input((SIZE, SIZE, 3))
    seen = layers.RandomFlip(seed=5)(layers.Dropout(0.3, seed=4)(pixels))
    return keras.Model(pixels, net()(seen))


FITS = {
    "shuffled": {},
    "in order": {"shuffle": False},
    "validation_data": {"validation_data": True},
    "validation_split": {"validation_split": 0.25},
    "sample_weight": {"sample_weight": np.linspace(0, 1, EXAMPLES, dtype="float32")},
    "class_weight": {"class_weight": {i: 1.0 + i for i in range(CLASSES)}},
    "one batch": {"batch_size": EXAMPLES},
    "as many as Keras takes": {"batch_size": None},
}


@pytest.mark.parametrize("options", FITS.values(), ids=FITS)
def test_the_student_has_the_bits_of_one_whose_teacher_is_asked_in_every_step(data, options):
    options = {**options, **({"validation_data": data} if "validation_data" in options else {})}
    asked, kept = pair(lambda: net(1, dropout=0.5))
    one, other = fitted(asked, *data, **options), fitted(kept, *data, **options)
    assert same(snapshot(asked.student), snapshot(kept.student))
    assert one == other


@pytest.mark.parametrize(
    "kind", ["augmenting student", "torch teacher", "another size", "uint8", "float64", "tensors", "dict", "-1", "rows"]
)
def test_the_same_of_every_kind_of_image_label_and_network(data, kind):
    images, labels = data
    if kind in ("uint8", "float64"):
        images = images.astype(kind)
    if kind == "tensors":
        images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    if kind == "dict":
        images = {"image": images, "index": np.arange(EXAMPLES), "teacher_image": images[:, ::-1]}
    if kind == "-1":
        labels = np.where(np.arange(EXAMPLES) % 3, labels, -1)
    if kind == "rows":
        labels = np.eye(CLASSES, dtype="float32")[labels]
    made_of = {"torch teacher": TorchNet, "another size": lambda: net(1, size=SIZE + 3)}.get(kind, lambda: net(1))
    student = augmenting if kind == "augmenting student" else net
    students = []
    for kept in (False, True):
        distiller = made(student(), teacher=made_of(), loss=KD(), cache_teacher=kept)
        fitted(distiller, images, labels)
        students.append(snapshot(distiller.student))
    assert same(*students)


def test_the_same_of_several_teachers_together_and_apart(data):
    asked, kept = pair(
        lambda: {"a": net(1), "b": net(2)}, loss=[KD(), OfB(2.0)], weight=[0.5, 1.5], teacher_weights={"b": 3.0}
    )
    fitted(asked, *data)
    fitted(kept, *data)
    assert same(snapshot(asked.student), snapshot(kept.student))


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_teacher_is_called_once_for_each_batch_of_images(data, monkeypatch, epochs):
    teacher = net(1)
    distiller = made(teacher=teacher, loss=KD(), cache_teacher=True, accelerate=False)
    calls = counting(teacher, monkeypatch)
    fitted(distiller, *data, epochs=epochs, validation_data=data)
    assert len(calls) == math.ceil(EXAMPLES / BATCH) and not any(calls)


def test_a_teacher_that_no_term_hears_is_not_asked(data, monkeypatch):
    silent = net(1)
    distiller = made(teacher={"a": silent, "b": net(2)}, loss=OfB(2.0), cache_teacher=True, accelerate=False)
    calls = counting(silent, monkeypatch)
    fitted(distiller, *data)
    assert not calls


def test_every_fit_asks_the_teacher_as_it_is_then(data):
    teacher = net(1)
    distiller = made(optimizer=keras.optimizers.SGD(0.0), teacher=teacher, loss=KD(), cache_teacher=True)
    first = fit(distiller, *data)["kd"]
    teacher.get_layer("head").bias.assign([5.0, 0, 0, 0, 0])
    assert fit(distiller, *data)["kd"] != pytest.approx(first, rel=1e-2)


def test_the_images_themselves_and_what_else_the_fit_was_given_stay_as_they_are(data):
    given = {"image": data[0].copy()}
    fit(made(teacher=net(1), loss=KD(), cache_teacher=True), given, data[1])
    assert list(given) == ["image"] and np.array_equal(given["image"], data[0])


class Stops(keras.callbacks.Callback):
    """Ends a fit as a kill would, after two epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_keras_callbacks_stop_restore_keep_and_go_on(data, tmp_path):
    def cached(seed=0):
        return made(net(seed), keras.optimizers.SGD(3.0), teacher=net(1), loss=KD(), cache_teacher=True)

    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True)
    distiller = cached()
    history = fit(distiller, *data, epochs=12, validation_data=data, callbacks=[stop, keep])
    assert distiller.evaluate(*data, verbose=0, return_dict=True)["loss"] == pytest.approx(min(history["val_loss"]))
    best = keras.saving.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(logits_of(best, data[0]), logits_of(distiller.student, data[0]), atol=1e-6)

    options = {"epochs": 4, "batch_size": 10}
    whole, backup = cached(), lambda: keras.callbacks.BackupAndRestore(tmp_path / "backup")
    fit(whole, *data, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(cached(), *data, callbacks=[backup(), Stops()], **options)
    again = cached(5)
    fit(again, *data, callbacks=[backup()], **options)
    np.testing.assert_allclose(logits_of(again.student, data[0]), logits_of(whole.student, data[0]), atol=1e-5)


class Draws(keras.utils.PyDataset):
    def __init__(self, data):
        super().__init__()
        self.data = data

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return self.data


def test_what_is_no_array_is_refused_before_anybody_is_asked(data):
    def batches():
        yield data

    loader = torch.utils.data.DataLoader([(*data,)])
    for x, name in ((batches(), "generator"), (Draws(data), "Draws"), (loader, "DataLoader"), (None, "NoneType")):
        distiller = made(teacher=net(1), loss=KD(), cache_teacher=True)
        with pytest.raises(ValueError, match=rf"as one array or tensor, \(n, height.*Received: {name}\. Leave cache_"):
            fit(distiller, x)


def test_layers_of_a_teacher_and_no_teacher_at_all_are_refused():
    with pytest.raises(ValueError, match=r"a term reads teacher_layers \['feature'\], which take a pass"):
        made(teacher=net(1), loss=[KD(), Hint(("feature",), ("feature",))], cache_teacher=True)
    with pytest.raises(ValueError, match=r"cache_teacher=True keeps a teacher's logits, and there is no teacher"):
        made(cache_teacher=True)
