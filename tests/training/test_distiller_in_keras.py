"""`Distiller` under Keras' own ways: data of every kind, callbacks, saving, prediction."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distilling import CLASSES, EXAMPLES, SIZE, fit, logits_of, made, net

from kdrecipes import KD, Hint
from kdrecipes.backend import keras
from kdrecipes.data.examples import Split
from kdrecipes.data.loader import Loader
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


def test_keras_callbacks_stop_restore_and_keep_weights(data, teacher, tmp_path):
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
