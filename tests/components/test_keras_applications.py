"""`keras_applications`: any classifier of Keras by name; on raw pixels it says what Keras' own pipeline says.

Of each family one small member is built in `make test`; those that take seconds are for `make soak`.
"""

import inspect
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes import EnvironmentProblem
from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.models import keras_applications, keras_source
from kdrecipes.recipe.load import load_recipe
from kdrecipes.training.last_activation import refuse_probabilities
from kdrecipes.training.optimizer import head_of

SMALLEST = {
    "convnext": "ConvNeXtTiny",
    "densenet": "DenseNet121",
    "efficientnet": "EfficientNetB0",
    "efficientnet_v2": "EfficientNetV2B0",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3": "MobileNetV3Small",
    "resnet": "ResNet50",
    "resnet_v2": "ResNet50V2",
    "xception": "Xception",
}
LARGE = {"inception_resnet_v2": "InceptionResNetV2", "nasnet": "NASNetLarge", "vgg16": "VGG16", "vgg19": "VGG19"}
SOAK = [name for name in keras_source.families() if name not in (*SMALLEST.values(), "NASNetMobile")]


def build(model, classes=7, image_size=32, seed=3, **options):
    seed_everything(seed)
    return keras_applications.build(classes, image_size, model, **options)


def logits(model, pixels):
    with torch.no_grad():
        return model(pixels, training=False).numpy()


def pixels(size, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype("float32")


def preprocess(family, images):
    return getattr(keras.applications, family).preprocess_input(images.copy())


# ---- names


def test_the_names_are_those_that_keras_exports():
    functions = {name: f for name, f in vars(keras.applications).items() if inspect.isfunction(f)}
    assert set(keras_source.families()) == set(functions)
    for name, function in functions.items():
        assert function.__module__ == f"keras.src.applications.{keras_source.families()[name]}"
    assert set(keras_source.families().values()) == {*SMALLEST, *LARGE}, "a new family needs its smallest member here"


def test_what_keras_can_not_build_on_torch_is_not_offered():
    offered = keras_applications.names()["model"]
    for name in set(keras_source.families()) - set(offered):
        with pytest.raises(ValueError, match="torch"):
            getattr(keras.applications, name)(weights=None)
    assert {"ConvNeXtTiny", "NASNetLarge", *SMALLEST.values()} <= set(offered)


def test_what_the_source_tells_is_what_keras_checks():
    """Least sizes, and the widths that have ImageNet weights: one less, or another, is refused by Keras itself."""
    for name in keras_applications.names()["model"]:
        told, function = keras_source.classifier(name), getattr(keras.applications, name)
        small = told.least_size - 1
        with pytest.raises(ValueError, match="at least"):
            function(weights=None, input_shape=(small, small, 3))
        assert ("alpha" in told.options) == ("alpha" in inspect.signature(function).parameters)
        if told.alphas:
            with pytest.raises(ValueError, match="alpha") as caught:
                function(weights="imagenet", alpha=0.123)
            assert all(str(alpha) in str(caught.value) for alpha in told.alphas if alpha != 0.5), name


def test_without_keras_a_name_is_not_judged(monkeypatch):
    """A plain installation checks recipes without Keras."""
    monkeypatch.setattr(keras_applications, "families", dict)
    assert list(keras_applications.problems(image_size=8, model="Nonsense", weights="none")) == []


# ---- pixels in, logits out


def marks(name):
    return pytest.param(name, marks=[pytest.mark.slow, pytest.mark.soak])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALLEST.values(), *map(marks, SOAK)])
def test_logits_on_raw_pixels_are_those_of_keras_own_pipeline(name):
    known = keras_source.classifier(name)
    size = known.least_size
    model = build(name, image_size=size)
    stock = getattr(keras.applications, name)(
        input_shape=(size, size, 3), weights=None, classes=7, classifier_activation=None
    )
    stock.set_weights(model.get_weights())
    expected = logits(stock, preprocess(known.family, pixels(size)))
    # Random weights give logits of any size, down to 1e-20.
    np.testing.assert_allclose(logits(model, pixels(size)), expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    assert (model.input_shape, model.output_shape) == ((None, size, size, 3), (None, 7))
    refuse_probabilities(model, "student")
    assert {tuple(variable.shape)[-1] for variable in head_of(model)} == {7}
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} <= {0.9} and (norms or known.family in ("convnext", "vgg16", "vgg19"))


@pytest.mark.parametrize("family", [*SMALLEST, *LARGE])
def test_each_familys_preprocessing_is_reproduced_and_reopens_in_safe_mode(family, tmp_path):
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, keras.layers.Identity()(keras_applications._preprocessed(inputs, family)))
    model.save(tmp_path / "m.keras")
    reopened = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    for one in (model, reopened):
        np.testing.assert_allclose(logits(one, pixels(9)), preprocess(family, pixels(9)), atol=1e-4)


def test_a_preprocessing_that_is_none_of_scale_and_offset_is_refused(monkeypatch):
    monkeypatch.setattr(keras.applications.resnet, "preprocess_input", np.sqrt)
    with pytest.raises(EnvironmentProblem, match=r"keras\.applications\.resnet\.preprocess_input does is not known"):
        keras_applications._preprocessed(keras.Input((9, 9, 3)), "resnet")


# ---- options


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV3Small"])
def test_alpha_is_the_width(name):
    narrow = getattr(keras.applications, name)(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=7)
    assert build(name, alpha=0.35).count_params() == narrow.count_params() < build(name).count_params()


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV3Small", "EfficientNetB0"])
def test_dropout_stands_before_the_head(name):
    rates = [la.rate for la in build(name, dropout=0.35).layers if isinstance(la, keras.layers.Dropout)]
    assert rates[-1] == 0.35


@pytest.mark.slow
def test_a_file_of_weights_is_loaded(tmp_path):
    saved = build("MobileNetV2", alpha=0.35)
    saved.save_weights(tmp_path / "mine.weights.h5")
    again = build("MobileNetV2", alpha=0.35, seed=9, weights=str(tmp_path / "mine.weights.h5"))
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), saved.get_weights(), strict=True))
    with pytest.raises(EnvironmentProblem, match="does not fit"):
        build("MobileNetV2", alpha=0.5, weights=str(tmp_path / "mine.weights.h5"))


@pytest.mark.slow
def test_imagenet_weights_give_keras_logits_and_fit_another_head(tmp_path, monkeypatch):
    from keras.src.legacy.saving import legacy_h5_format

    def get_file(fname, origin, **options):
        assert "mobilenet_v2" in origin and "_0.35_224" in fname
        return str(tmp_path / "imagenet.h5")

    seed_everything(5)
    stock = keras.applications.MobileNetV2(alpha=0.35, weights=None, classifier_activation=None)
    with h5py.File(tmp_path / "imagenet.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, stock)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    whole = build("MobileNetV2", classes=1000, image_size=224, alpha=0.35, weights="imagenet")
    expected = logits(stock, preprocess("mobilenet_v2", pixels(224, 1)))
    np.testing.assert_allclose(logits(whole, pixels(224, 1)), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    model = build("MobileNetV2", alpha=0.35, weights="imagenet")  # another size, another head
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 7))
    np.testing.assert_array_equal(model.get_layer("Conv_1").kernel.numpy(), stock.get_layer("Conv_1").kernel.numpy())


def test_imagenet_without_a_network_says_what_to_fetch(monkeypatch, tmp_path):
    def get_file(fname, origin, **options):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="of MobileNetV2 could not be downloaded") as caught:
        build("MobileNetV2", alpha=0.35, weights="imagenet")
    assert f"put the file into {tmp_path / 'models'}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "Xception", "image_size": 70}, "image_size must be at least 71 for Xception."),
        ({"model": "ResNet50", "alpha": 0.5}, "alpha is no option of ResNet50, which has weights."),
        (
            {"model": "EfficientNetB0", "alpha": 0.5},
            "alpha is no option of EfficientNetB0, which has dropout and weights.",
        ),
        ({"model": "NASNetMobile"}, "model can't be built on torch by this Keras."),
        (
            {"model": "convnexttiny"},
            "model must be a classifier of keras.applications (nearest: ConvNeXtTiny, ConvNeXtBase, ConvNeXtSmall, "
            "ConvNeXtLarge, ConvNeXtXLarge).",
        ),
    ],
)
def test_a_script_is_told_what_does_not_fit(options, message):
    with pytest.raises(EnvironmentProblem) as caught:
        build(**options)
    assert str(caught.value) == message


# ---- a recipe


def test_the_least_size_is_told_in_its_place(tmp_path):
    """The size comes from the network's table or the dataset's; each place is named."""
    recipe = {
        "schema_version": 1,
        "name": "sizes",
        "dataset": {"name": "digits", "image_size": 48},
        "teacher": {"name": "keras_applications", "model": "VGG16", "weights": "imagenet", "image_size": 96},
        "student": {"name": "keras_applications", "model": "InceptionV3"},
        "loss": {"name": "kd"},
        "train": {"epochs": 1},
    }
    (tmp_path / "sizes.json").write_text(json.dumps(recipe))
    with pytest.raises(kdrecipes.RecipeError) as caught:
        load_recipe(tmp_path / "sizes.json")
    assert [(one.path, one.suggestion) for one in caught.value.problems] == [
        ("dataset.image_size", ""),
        ("teacher.image_size", "224"),
    ]
    assert load_recipe(tmp_path / "sizes.json", ["dataset.image_size=75", "teacher.image_size=224"]).teachers


def test_names_and_checks_read_files_alone():
    code = (
        "import sys; from kdrecipes.components.models.keras_applications import names, problems\n"
        "assert list(problems(image_size=8, model='Xception', weights='none')) and names()['model']\n"
        "print([name for name in ('torch', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
