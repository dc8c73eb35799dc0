"""`keras_file`: a saved model as teacher; a file that would run code, is damaged or another's is refused."""

import hashlib

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.models import file
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError


@pytest.fixture
def saved(tmp_path):
    """(the model, its file)"""
    seed_everything(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    model.compile("adam", "mse")
    model.save(tmp_path / "teacher.keras")
    return model, tmp_path / "teacher.keras"


def refused(path, sha256=None):
    with pytest.raises(EnvironmentProblem) as caught:
        file.build(str(path), sha256)
    return str(caught.value)


def test_the_saved_model_is_loaded_without_its_compilation(saved):
    model, path = saved
    loaded = file.build(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    images = torch.rand(2, 8, 8, 3) * 255
    torch.testing.assert_close(loaded(images), model(images))
    assert not loaded.compiled


def test_another_sha256_is_refused_before_the_file_is_opened(saved, monkeypatch):
    monkeypatch.setattr(keras.models, "load_model", lambda *a, **k: pytest.fail("opened"))
    assert f"expected {'0' * 64}" in refused(saved[1], "0" * 64)


def test_a_missing_file_another_kind_and_a_damaged_one_are_said(saved, tmp_path):
    assert "no such file" in refused(tmp_path / "none.keras")
    (tmp_path / "model.h5").write_bytes(b"")
    assert "must be a .keras file" in refused(tmp_path / "model.h5")
    saved[1].write_bytes(saved[1].read_bytes()[:2000])
    assert "can't be opened" in refused(saved[1])


def test_code_inside_a_file_is_never_run(tmp_path):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x[:, 0, 0])(inputs)).save(tmp_path / "lambda.keras")
    assert "code inside a file is never run" in refused(tmp_path / "lambda.keras")


def recipe_with(path, tmp_path, *more):
    text = f"""
        schema_version = 1
        name = "file"
        [dataset]
        name = "digits"
        train = "train[:80]"
        validation = "train[80:120]"
        test = "test[:40]"
        [teacher]
        name = "keras_file"
        path = "{path.name}"
        preflight = "warn"
        [student]
        name = "cnn"
        width = 2
        [loss]
        name = "kd"
        [report]
        measure = false
        [train]
        epochs = 1
        batch_size = 40
    """
    (tmp_path / "file.toml").write_text(text)
    return kdrecipes.load_recipe(tmp_path / "file.toml", more)


@pytest.mark.slow
def test_it_teaches_in_a_recipe_that_stands_beside_it(saved, tmp_path):
    report = kdrecipes.run(recipe_with(saved[1], tmp_path), tmp_path / "run")
    assert report["teachers"][0]["params"] == saved[0].count_params()


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "said"), [((1 / 255,), "from 0 to 1"), ((1 / 127.5, -1.0), "from −1 to 1")])
def test_a_teacher_that_takes_pixels_of_another_range_is_told_which(tmp_path, layer, said):
    """It is trained on pixels of that range, and its file lacks the layer that makes them."""
    from kdrecipes.components.datasets import digits

    source = digits.build("train")
    images = np.repeat(source.images, 3, -1).astype(np.float32)
    seed_everything(0)
    inputs = keras.Input((8, 8, 3))
    waves = keras.ops.sin(2.0 * inputs)  # so that other ranges make no sense to it
    x = keras.layers.Dense(64, activation="tanh")(keras.layers.Flatten()(waves))
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Dense(64, activation="tanh")(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    scale, offset = (*layer, 0.0)[:2]
    model.fit(images * scale + offset, source.labels, epochs=3, verbose=0)
    model.save(tmp_path / "range.keras")
    more = ['teacher.preflight="stop"', 'dataset.validation="train[80:400]"']
    recipe = recipe_with(tmp_path / "range.keras", tmp_path, *more)
    with pytest.raises(RunError, match=f"and with pixels {said} "):
        kdrecipes.run(recipe, tmp_path / "run")


@pytest.mark.slow
def test_a_file_for_one_image_size_is_shown_images_of_that_size(saved, tmp_path):
    """Whatever the run's: in the preflight, for its outputs and on test images alike."""
    more = ["dataset.image_size=12", 'teacher.preflight="stop"', "teacher.cache='off'"]
    seed_everything(0)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))))
    from kdrecipes.components.datasets import digits

    source = digits.build("train")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(np.repeat(source.images, 3, -1).astype(np.float32), source.labels, epochs=5, verbose=0)
    model.save(tmp_path / "small.keras")
    report = kdrecipes.run(recipe_with(tmp_path / "small.keras", tmp_path, *more), tmp_path / "run")
    assert report["teachers"][0]["test_accuracy"] > 0.5


def test_two_outputs_are_said(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    keras.Model(inputs, [keras.layers.Dense(10)(x), x]).save(tmp_path / "two.keras")
    with pytest.raises(RunError, match=r"has no one output of shape \(batch, 10\)"):
        kdrecipes.run(recipe_with(tmp_path / "two.keras", tmp_path), tmp_path / "run")


def test_another_number_of_classes_stops_before_training(tmp_path):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs))).save(tmp_path / "three.keras")
    with pytest.raises(KDRecipesError, match="3 outputs and the dataset 10 classes"):
        kdrecipes.run(recipe_with(tmp_path / "three.keras", tmp_path), tmp_path / "run")


# ---- a new head, and grey pixels


def layered(*tail, channels=3):
    """Pixels → convolution → `tail`."""
    seed_everything(0)
    pixels = keras.Input((8, 8, channels))
    x = keras.layers.Conv2D(4, 3, name="body")(keras.layers.Rescaling(1 / 255)(pixels))
    for layer in tail:
        x = layer(x)
    return keras.Model(pixels, x)


def heads():
    layers = keras.layers
    pooled = layers.GlobalAveragePooling2D()
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(6, name="inside"), layers.Dense(1000, name="out")])
    yield "dense", layered(pooled, layers.Dense(1000)), 4
    yield "softmax", layered(pooled, layers.Dropout(0.5), layers.Dense(1000), layers.Softmax()), 4
    yield "operation", layered(pooled, layers.Dense(1000), keras.ops.softmax), 4
    yield "convolution", layered(layers.Conv2D(1000, 1), layers.GlobalAveragePooling2D()), 4
    yield "nested", layered(pooled, inner, layers.Activation("softmax")), 6
    yield "rows", layered(layers.Reshape((36, 4)), layers.Dense(1000), layers.GlobalAveragePooling1D()), 4


@pytest.mark.parametrize(("model", "width"), [pytest.param(m, w, id=name) for name, m, w in heads()])
def test_a_new_head_stands_where_the_old_one_stood_and_all_else_is_kept(tmp_path, model, width):
    model.save(tmp_path / "old.keras")
    new = file.build(str(tmp_path / "old.keras"), head="new", classes=3)
    assert new.output_shape == (None, 3)
    kernel, bias = new.get_layer("new_head").get_weights()
    assert kernel.shape == (width, 3) and not bias.any()
    body = new.get_layer("body").get_weights()
    assert all(map(np.array_equal, body, model.get_layer("body").get_weights()))
    assert len(new.weights) == len(model.weights)


def test_a_new_head_reads_what_the_old_one_read(tmp_path):
    model = layered(keras.layers.GlobalAveragePooling2D(name="pooled"), keras.layers.Dense(1000))
    model.save(tmp_path / "old.keras")
    new = file.build(str(tmp_path / "old.keras"), head="new", classes=3)
    images = torch.rand(2, 8, 8, 3) * 255
    features = keras.Model(model.inputs, model.get_layer("pooled").output)(images).detach().cpu().numpy()
    kernel, bias = new.get_layer("new_head").get_weights()
    np.testing.assert_allclose(new(images).detach().cpu().numpy(), features @ kernel + bias, rtol=1e-5, atol=1e-5)


def test_a_head_that_cannot_be_told_is_said(tmp_path):
    norm = layered(keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(9), keras.layers.BatchNormalization())
    norm.save(tmp_path / "norm.keras")
    with pytest.raises(EnvironmentProblem, match="is a BatchNormalization and no head"):
        file.build(str(tmp_path / "norm.keras"), head="new", classes=3)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(pixels)
    keras.Model(pixels, keras.layers.Dense(3)(x) + keras.layers.Dense(3)(x)).save(tmp_path / "two.keras")
    with pytest.raises(EnvironmentProblem, match="puts 2 values together"):
        file.build(str(tmp_path / "two.keras"), head="new", classes=3)


@pytest.mark.slow
def test_a_teacher_of_other_classes_is_fine_tuned_with_a_new_head(tmp_path):
    layered(keras.layers.Flatten(), keras.layers.Dense(1000)).save(tmp_path / "old.keras")
    more = ['teacher.head="new"', "teacher.train.epochs=12", 'teacher.preflight="stop"', 'dataset.train="train[:400]"']
    more += ['dataset.validation="train[400:500]"', 'train.optimizer={name="adamw", learning_rate=0.01}']
    report = kdrecipes.run(recipe_with(tmp_path / "old.keras", tmp_path, *more), tmp_path / "run")
    assert report["teachers"][0]["test_accuracy"] > 0.5


def test_one_channel_is_shown_the_grey_of_the_pixels(tmp_path):
    """A grey pixel stays what it is; a coloured one weighs as ITU-R 601 says."""
    model = layered(keras.layers.Flatten(), keras.layers.Dense(10), channels=1)
    model.save(tmp_path / "grey.keras")
    shown = file.build(str(tmp_path / "grey.keras"))
    assert shown.input_shape == (None, 8, 8, 3) and shown.count_params() == model.count_params()
    grey, colours = torch.rand(2, 8, 8, 1) * 255, torch.rand(2, 8, 8, 3) * 255
    torch.testing.assert_close(shown(grey.expand(-1, -1, -1, 3)), model(grey), rtol=1e-4, atol=1e-4)
    luma = colours @ torch.tensor([[0.299], [0.587], [0.114]])
    torch.testing.assert_close(shown(colours), model(luma), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kdrecipes.accelerate(shown)(colours), model(luma), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_network_of_one_channel_teaches_and_learns(tmp_path, role):
    layered(keras.layers.Flatten(), keras.layers.Dense(10), channels=1).save(tmp_path / "grey.keras")
    more = ['student={name="keras_file", path="grey.keras"}'] if role == "student" else []
    report = kdrecipes.run(recipe_with(tmp_path / "grey.keras", tmp_path, *more), tmp_path / "run")
    assert report["status"] == "done"


def test_the_key_is_no_part_of_a_recipe_that_does_not_have_it(saved, tmp_path):
    assert "head" not in recipe_with(saved[1], tmp_path).data["teacher"]
