"""The built-in models: what they take and give, how they are saved, where their weights come from."""

import h5py
import numpy as np
import pytest
import torch

from kdrecipes import EnvironmentProblem, component
from kdrecipes.backend import keras, seed_everything
from kdrecipes.training.last_activation import refuse_probabilities

APPLICATIONS = ["mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_b3"]
SMALL = "mobilenet_v3_small"
PIXELS = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0)) * 255


def build(name, classes=7, seed=3, image_size=32, **options):
    seed_everything(seed)
    return component("model", name).build(classes=classes, image_size=image_size, **options)


def logits(model, pixels=PIXELS):
    with torch.no_grad():
        return model(pixels, training=False).numpy()


@pytest.fixture(scope="module")
def models():
    return {name: build(name) for name in ["cnn", *APPLICATIONS]}


@pytest.mark.parametrize("name", ["cnn", *APPLICATIONS])
def test_pixels_in_logits_out(models, name):
    model = models[name]
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 7)
    refuse_probabilities(model, "student")
    values = logits(model)
    assert np.isfinite(values).all()
    assert not np.allclose(values.sum(1), 1.0)
    # The pixels' range is brought down inside the model.
    assert any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    assert np.abs(values).max() < 100


@pytest.mark.parametrize("name", ["cnn", *APPLICATIONS])
def test_moving_statistics_forget_in_a_short_training(models, name):
    norms = [layer for layer in models[name].layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert {layer.momentum for layer in norms} == {0.9}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", SMALL, "efficientnet_b0"])
def test_a_seed_gives_one_model_and_it_reloads_safely(models, name, tmp_path):
    again = build(name)
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), models[name].get_weights(), strict=True))
    models[name].save(tmp_path / "m.keras")
    reloaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True, compile=False)
    np.testing.assert_allclose(logits(reloaded), logits(models[name]), atol=1e-6)


def test_another_seed_gives_another_model(models):
    assert not np.array_equal(logits(build("cnn", seed=4)), logits(models["cnn"]))


# At a rate of 0 Keras leaves MobileNetV3's layer out.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [(SMALL, 0.35), ("efficientnet_b0", 0.0), ("efficientnet_b0", 0.35)])
def test_dropout_stands_before_the_head(name, rate):
    dropouts = [layer for layer in build(name, dropout=rate).layers if isinstance(layer, keras.layers.Dropout)]
    assert dropouts[-1].rate == rate


def test_cnn_grows_by_width_and_depth():
    model = component("model", "cnn").build(classes=3, image_size=8, width=4, depth=3)
    assert [model.get_layer(f"stage{i}b_relu").output.shape[1:] for i in (1, 2, 3)] == [
        (8, 8, 4),
        (4, 4, 8),
        (2, 2, 16),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALL, "efficientnet_b0"])
def test_weights_from_a_file_are_loaded(models, name, tmp_path):
    file = tmp_path / "mine.weights.h5"
    models[name].save_weights(file)
    np.testing.assert_allclose(logits(build(name, seed=9, weights=str(file))), logits(models[name]), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["missing", "wrong name", "no weights file", "another model", "other classes"])
def test_weights_that_do_not_fit_are_one_problem(models, tmp_path, case):
    file, expected = tmp_path / "x.weights.h5", "does not fit mobilenetv3small"
    if case == "missing":
        expected = "no such file"
    elif case == "wrong name":
        file, expected = tmp_path / "x.h5", r"must be a Keras weights file, named \*\.weights\.h5"
        file.write_bytes(b"")
    elif case == "no weights file":
        file.write_bytes(b"not HDF5")
    elif case == "another model":
        models["mobilenet_v3_large"].save_weights(file)
    else:
        build(SMALL, classes=5).save_weights(file)
    with pytest.raises(EnvironmentProblem, match=expected) as caught:
        build(SMALL, weights=str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [(SMALL, "weights_mobilenet_v3_small_224_1.0_float.h5"), ("efficientnet_b0", "efficientnetb0.h5")],
)
def test_imagenet_without_a_network_says_what_to_fetch(monkeypatch, tmp_path, name, file):
    def get_file(fname, origin, **options):
        assert fname == origin.rsplit("/", 1)[1]  # so that a file fetched by hand is found
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="could not be downloaded") as caught:
        build(name, weights="imagenet")
    assert f"/{file} on a machine that can and put the file into {tmp_path / 'models'}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_of_ours_is_not_called_a_download(monkeypatch):
    def get_file(*args, **options):
        raise KeyError("a bug")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(KeyError, match="a bug"):
        build(SMALL, weights="imagenet")


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """`imagenet(name)` puts a file in the layout of the published 1000-class weights where Keras would download one.

    Returns the stock network with these weights.
    """
    from keras.src.legacy.saving import legacy_h5_format

    def write(name):
        file = tmp_path / "imagenet.h5"
        function = {SMALL: keras.applications.MobileNetV3Small, "efficientnet_b0": keras.applications.EfficientNetB0}[
            name
        ]
        seed_everything(5)
        source = function(input_shape=(224, 224, 3), weights=None, classifier_activation=None)
        if name == "efficientnet_b0":  # the published file holds the mean, and std where a variance is due
            norm = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
            norm.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
        with h5py.File(file, "w") as opened:
            legacy_h5_format.save_weights_to_hdf5_group(opened, source)
        monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **options: str(file))
        return function(input_shape=(224, 224, 3), weights="imagenet", classifier_activation=None)

    return write


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALL, pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def test_imagenet_weights_give_keras_logits_and_fit_another_head(imagenet, tmp_path, name):
    stock = imagenet(name)
    pixels = torch.rand(1, 224, 224, 3, generator=torch.Generator().manual_seed(0)) * 255
    whole = build(name, classes=1000, image_size=224, weights="imagenet")
    np.testing.assert_allclose(logits(whole, pixels), logits(stock, pixels), rtol=1e-3, atol=1e-4)

    model = build(name, weights="imagenet")  # another size, another head; MobileNetV3 keeps its last expansion
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 7))
    last = "conv_2" if name == SMALL else "top_conv"
    np.testing.assert_array_equal(model.get_layer(last).kernel.numpy(), stock.get_layer(last).kernel.numpy())
    assert {la.momentum for la in model.layers if isinstance(la, keras.layers.BatchNormalization)} == {0.9}

    # One network whatever its first weights: a file of it fits the plain one, preprocessing included.
    saved = tmp_path / "tuned.weights.h5"
    model.save_weights(saved)
    np.testing.assert_allclose(logits(build(name, weights=str(saved))), logits(model), rtol=1e-5, atol=1e-6)
