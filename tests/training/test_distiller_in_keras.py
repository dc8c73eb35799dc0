"""`Distiller` under Keras' own ways: data of every kind, callbacks, saving, prediction."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distilling import CLASSES, EXAMPLES, SIZE, fit, logits_of, made, net

from kdrecipes import KD, Distiller, Hint
from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.data.splits import Split
from kdrecipes.training.projector import Projected


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
    fields = {"labels": labels, "index": np.arange(EXAMPLES), "classes": ["a"], "weights": None}
    pixels = images.astype("uint8")
    store = SimpleNamespace(images=pixels, pixels=pixels.__getitem__, **fields)
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


def test_keras_callbacks_stop_restore_and_keep_weights(data, teacher, tmp_path):
    file = tmp_path / "best.weights.h5"
    distiller = made(optimizer=keras.optimizers.SGD(0.0), teacher=teacher, loss=KD())
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(file, monitor="val_loss", save_best_only=True, save_weights_only=True)
    history = fit(distiller, *data, epochs=9, validation_data=data, callbacks=[stop, keep])
    assert len(history["val_loss"]) == 2
    assert file.is_file()
    distiller.load_weights(file)


def test_a_saved_distiller_is_its_student(data, teacher, tmp_path):
    distiller = made(teacher=teacher, loss=KD())
    fit(distiller, *data)
    distiller.save(tmp_path / "distiller.keras")
    distiller.student.save(tmp_path / "student.keras")
    for file in ("distiller.keras", "student.keras"):
        again = keras.saving.load_model(tmp_path / file, safe_mode=True, compile=False)
        assert [v.path for v in again.variables] == [v.path for v in distiller.student.variables]
        np.testing.assert_allclose(logits_of(again, data[0]), logits_of(distiller.student, data[0]), atol=1e-6)
    with pytest.raises(
        TypeError, match=r"A Distiller is not saved whole; `distiller\.save\(path\)` writes its student"
    ):
        distiller.get_config()


def test_a_checkpoint_of_a_distiller_is_the_student_of_its_best_epoch(data, teacher, tmp_path):
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True)
    each = keras.callbacks.ModelCheckpoint(tmp_path / "epoch-{epoch}.keras")
    distiller = made(teacher=teacher, loss=KD())
    history = fit(distiller, *data, epochs=4, validation_data=data, callbacks=[keep, each])
    best = 1 + int(np.argmin(history["val_loss"]))
    one, other = (keras.saving.load_model(tmp_path / f"{n}.keras") for n in ("best", f"epoch-{best}"))
    np.testing.assert_array_equal(logits_of(one, data[0]), logits_of(other, data[0]))
    assert one.count_params() == distiller.student.count_params()
    kept = ["best.keras", *(f"epoch-{n}.keras" for n in range(1, 5))]
    assert sorted(file.name for file in tmp_path.iterdir()) == kept


def test_weights_of_a_checkpoint_go_into_a_fresh_distiller(data, teacher, tmp_path):
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True)
    distiller = made(teacher=teacher, loss=KD())
    fit(distiller, *data, epochs=2, callbacks=[keep])
    again = made(net(5), teacher=teacher, loss=KD())
    again.load_weights(tmp_path / "last.weights.h5")
    np.testing.assert_array_equal(logits_of(again.student, data[0]), logits_of(distiller.student, data[0]))


def test_a_student_that_cannot_be_saved_leaves_no_file_and_keeps_the_earlier_one(data, tmp_path, monkeypatch):
    distiller = made()
    fit(distiller, *data)
    distiller.save(tmp_path / "kept.keras")
    before = (tmp_path / "kept.keras").read_bytes()

    def fails(self):
        raise RuntimeError("no config")

    monkeypatch.setattr(type(distiller.student), "get_config", fails)
    for name in ("kept.keras", "other.keras"):
        with pytest.raises(RuntimeError, match="no config"):
            distiller.save(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["kept.keras"]
    assert (tmp_path / "kept.keras").read_bytes() == before


class Stops(keras.callbacks.Callback):
    """Ends a fit as a kill would, after two epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_backup_goes_on_where_the_fit_was_interrupted(data, teacher, tmp_path):
    """The weights, the optimiser's moments and the epoch: as if it had not been interrupted."""
    options = {"epochs": 4, "shuffle": False, "batch_size": 10}
    whole = made(optimizer=keras.optimizers.Adam(0.01), teacher=teacher, loss=KD())
    fit(whole, *data, **options)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        first = made(optimizer=keras.optimizers.Adam(0.01), teacher=teacher, loss=KD())
        fit(first, *data, callbacks=[backup, Stops()], **options)
    again = made(net(5), optimizer=keras.optimizers.Adam(0.01), teacher=teacher, loss=KD())
    history = again.fit(*data, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")], **options)
    assert history.epoch == [2, 3]
    np.testing.assert_allclose(logits_of(again.student, data[0]), logits_of(whole.student, data[0]), atol=1e-5)


def test_early_stopping_gives_back_the_student_of_the_best_epoch(data, teacher):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    distiller = made(optimizer=keras.optimizers.SGD(3.0), teacher=teacher, loss=KD())
    history = fit(distiller, *data, epochs=12, validation_data=data, callbacks=[stop])
    best = min(history["val_loss"])
    assert best < history["val_loss"][-1], "the case is one where the last epoch is not the best"
    assert distiller.evaluate(*data, verbose=0, return_dict=True)["loss"] == pytest.approx(best, rel=1e-5)


def test_a_teacher_without_a_term_is_refused(teacher):
    with pytest.raises(ValueError, match=r"a teacher and no term to hear it: give one, such as loss=KD"):
        Distiller(teacher=teacher, student=net())


@pytest.mark.parametrize(
    ("unnamed", "named", "call", "ending"),
    [
        (
            2,
            {},
            "teacher=…, student=…, loss=KD(temperature=4.0)",
            r"2 without a name \(Functional, Functional\)\. T",
        ),
        (2, {"loss": KD()}, "teacher=…, student=…, loss=KD(temperature=4.0)", r"\(Functional, Functional\)\.$"),
        (1, {"student": net()}, "teacher=…, loss=KD(temperature=4.0)", "a teacher and no term to hear it: give one"),
    ],
)
def test_networks_by_their_places_are_refused_in_one_message(unnamed, named, call, ending):
    with pytest.raises(TypeError, match=rf"Give each argument its name.*Distiller\({re.escape(call)}\).*{ending}"):
        Distiller(*[net() for _ in range(unnamed)], **named)


# ---- accelerated as a run is


def is_native(model):
    return any("_kdrecipes_call" in layer.__dict__ for layer in model.layers)


def test_networks_are_accelerated_unless_told_otherwise(data, teacher):
    fast, plain = (made(teacher=net(1), loss=KD(), **options) for options in ({}, {"accelerate": False}))
    assert is_native(fast.student) and not is_native(plain.student)
    one, other = (fit(distiller, *data, epochs=3) for distiller in (fast, plain))
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-4)
    frozen, asked = (distiller.teachers.networks["teacher"]._logits for distiller in (fast, plain))
    assert frozen.__module__ == "kdrecipes.fast.frozen" and asked.__name__ == "_ask"
    assert not is_native(fast.teachers.networks["teacher"].model), "the caller's teacher stays as it was"


def test_a_teacher_that_changes_between_fits_is_heard_as_it_is(data):
    teacher = net(1)
    distiller = made(optimizer=keras.optimizers.SGD(0.0), teacher=teacher, loss=KD())
    first = fit(distiller, *data)["kd"]
    teacher.get_layer("head").bias.assign([5.0, 0, 0, 0, 0])
    assert fit(distiller, *data)["kd"] != pytest.approx(first, rel=1e-2)


def test_a_layer_that_somebody_listens_to_is_left_alone(data):
    student, heard = net(), []
    layer = student.get_layer("feature")
    stock = layer.call
    layer.__dict__["call"] = lambda *args, **options: heard.append(1) or stock(*args, **options)
    fit(made(student), *data)
    assert heard and not is_native(student)


def test_data_without_labels_serve_where_labels_weigh_nothing(data, teacher):
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
