"""A student that a run saved, used: its class names, its sizes, and the predictions that the run wrote down."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from samples import small
from scipy.special import softmax

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.components.datasets.decoding import at_most
from kdrecipes.errors import RunError, UsageError

CLASSES = ["blue", "green", "red"]


def photos(folder):
    """Photos of three classes in all shapes, kinds and turns; what is smooth is told from what is not by a filter."""
    numbers = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 12)):
        for channel, name in zip((2, 1, 0), CLASSES, strict=True):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                size = numbers.integers(20, 90, 2) * (2 if i % 3 == 1 else 1)  # JPEGs: also beyond max_pixels
                pixels = numbers.integers(0, 200, (*size, 3), dtype=np.uint8)
                pixels[..., channel] = 255
                image, ending = Image.fromarray(pixels), ("png", "jpg", "webp")[i % 3]
                exif = Image.Exif()
                exif[274] = 1 + i % 8
                if i % 3 == 0 and i:  # a hole, through which the background is seen
                    image = image.convert("RGBA")
                    image.paste((0, 0, 0, 0), (0, 0, image.width // 2, image.height))
                image.save(folder / split / name / f"{i}.{ending}", exif=exif)
    return folder


RECIPE = """
schema_version = 1
name = "photos"
[dataset]
name = "folder"
path = "photos"
validation = 0.25
image_size = 16
store_size = 24
resize = "crop"
background = "#ff8000"
max_pixels = 8100
[student]
name = "cnn"
width = 4
depth = 1
[loss]
label_weight = 1.0
[train]
epochs = 2
batch_size = 8
[train.optimizer]
name = "adamw"
learning_rate = 0.01
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on photos: its folder, beside which the photos are."""
    folder = tmp_path_factory.mktemp("photos")
    photos(folder / "photos")
    (folder / "photos.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder / "home"))
        kdrecipes.run(kdrecipes.load_recipe(folder / "photos.toml"), folder / "run")
    return folder / "run"


def of_test(run):
    """The test images' paths and the probabilities that the run's logits are, in the order of predictions.npz."""
    with np.load(run / "predictions.npz") as found:
        assert found["names"].shape == found["index"].shape == found["labels"].shape
        return [run.parent / "photos" / name for name in found["names"]], softmax(found["baseline-0"], axis=1)


def test_it_predicts_what_the_run_wrote_down_for_its_test_images(run):
    student = kdrecipes.load_student(run)
    paths, expected = of_test(run)
    assert len(paths) == 36 and expected.std() > 0.1
    found = student.predict(paths)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_names_order_and_sizes_are_those_of_training(run):
    student = kdrecipes.load_student(run / "students" / "baseline-0.keras")
    assert student.classes == CLASSES
    assert (student.image_size, student.store_size, student.resize) == (16, 24, "crop")
    assert (student.background, student.max_pixels) == ((255, 128, 0), 8100)
    assert isinstance(student.model, keras.Model) and student.model.input_shape == (None, 16, 16, 3)


def test_the_order_and_number_of_images_do_not_matter_to_one(run):
    student = kdrecipes.load_student(run)
    paths, expected = of_test(run)
    np.testing.assert_allclose(student.predict(paths[::-1], batch_size=5), expected[::-1], atol=1e-6)
    np.testing.assert_allclose(student.predict(paths[4]), expected[4:5], atol=1e-6)
    assert student.predict([]).shape == (0, 3)


def test_arrays_are_resized_as_files_are(run):
    student = kdrecipes.load_student(run)
    source = kdrecipes.component("dataset", "folder").build(split="test", path=str(run.parent / "photos"))
    with np.load(run / "predictions.npz") as found, at_most(8100):
        arrays = [source[i]["image"] for i in found["index"]]
    np.testing.assert_allclose(student.predict(arrays), of_test(run)[1], atol=1e-6)
    grey = np.full((4, 30, 20), 7, np.uint8)
    one = student.predict(list(grey))
    np.testing.assert_array_equal(one, student.predict(np.repeat(grey[..., None], 3, axis=3)))


def test_what_is_no_image_is_told(run, tmp_path):
    student = kdrecipes.load_student(run)
    with pytest.raises(UsageError, match=r"one array of shape \(30, 20, 3\).*Put a single image into a list"):
        student.predict(np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(RunError, match=r"images\[1\] is float64 of shape"):
        student.predict([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))])
    with pytest.raises(UsageError, match=r"images\[0\] is a Image; an image is the path of a file, or an array"):
        student.predict([Image.new("RGB", (8, 8))])
    for i in range(25):
        (tmp_path / f"{i:02}.png").write_bytes(b"no image")
    with pytest.raises(RunError) as caught:
        student.predict([*sorted(tmp_path.iterdir()), of_test(run)[0][0]])
    assert "25 of 26 images can't be read" in str(caught.value) and "; and 5 more." in str(caught.value)
    assert all(f"{i:02}.png (" in str(caught.value) for i in range(20)) and "20.png" not in str(caught.value)


# --- what a file holds -----------------------------------------------------------------------------------------------


def test_class_names_are_in_the_report_and_with_each_student_without_kdrecipes(finished):
    folder, report = finished
    assert report["dataset"]["class_names"] == [str(i) for i in range(10)]
    assert report["dataset"]["classes"] == 10
    for label in ("baseline-0", "kd-0"):
        with zipfile.ZipFile(folder / "students" / f"{label}.keras") as archive:
            inside = json.loads(archive.read("kdrecipes.json"))
        content = (folder / "students" / f"{label}.keras").read_bytes()
        told = inside | {"sha256": hashlib.sha256(content).hexdigest()}
        assert told == json.loads((folder / "students" / f"{label}.json").read_text())
        assert inside["classes"] == report["dataset"]["class_names"]
        assert (inside["image_size"], inside["resize"]) == (8, "squash")
        assert inside["recipe_sha256"] == report["recipe_sha256"]


def test_keras_alone_opens_a_student_and_what_it_saves_again_is_known_by_the_file_beside(finished, tmp_path):
    folder, _ = finished
    model = keras.saving.load_model(folder / "students" / "kd-0.keras")
    model.save(tmp_path / "again.keras")
    with pytest.raises(UsageError, match=r"again\.keras does not say what its classes are, and no again\.json"):
        kdrecipes.load_student(tmp_path / "again.keras")
    (tmp_path / "again.json").write_bytes((folder / "students" / "kd-0.json").read_bytes())
    again, first = kdrecipes.load_student(tmp_path / "again.keras"), kdrecipes.load_student(folder)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again.predict(images), first.predict(images))


def test_of_a_run_the_distilled_student_is_meant(finished):
    folder, _ = finished
    source = kdrecipes.component("dataset", "digits").build(split="test")
    with np.load(folder / "predictions.npz") as found:
        images = [source[i]["image"] for i in found["index"]]
        expected = softmax(found["kd-0"], axis=1)
    np.testing.assert_allclose(kdrecipes.load_student(folder).predict(images), expected, atol=1e-6)


NET = """
import kdrecipes

def build(classes, image_size, width):
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = torch.nn.BatchNorm2d(3), torch.nn.Linear(3 * width * width, classes)

        def forward(self, pixels):
            x = self.norm(pixels.permute(0, 3, 1, 2) / 255)
            return self.head(torch.nn.functional.adaptive_avg_pool2d(x, width).flatten(1))

    return Net()

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "torch_net", build, {
        "type": "object", "additionalProperties": False, "required": ["width"], "properties": {
            "classes": {"type": "integer"}, "image_size": {"type": "integer"},
            "width": {"type": "integer", "description": "pixels that are read to a side"}}})
"""


@pytest.mark.slow
def test_a_torch_student_is_built_anew_around_its_weights(tmp_path, home):
    plugin = tmp_path / "net.py"
    plugin.write_text(NET)
    more = ['student={name="torch_net", width=5}', "teacher.train.epochs=1", "train.epochs=1"]
    kdrecipes.run(small(*more, plugins=[plugin]), tmp_path / "run")
    with safe_open(tmp_path / "run" / "students" / "kd-0.safetensors", "np") as file:
        assert json.loads(file.metadata()["kdrecipes"])["classes"] == [str(i) for i in range(10)]
    with pytest.raises(UsageError, match=r"No model is called 'torch_net'.*name a plugin .* with `plugins=`"):
        kdrecipes.load_student(tmp_path / "run")
    student = kdrecipes.load_student(tmp_path / "run", plugins=[plugin])
    source = kdrecipes.component("dataset", "digits").build(split="test")
    with np.load(tmp_path / "run" / "predictions.npz") as found:
        expected = softmax(found["kd-0"], axis=1)
        np.testing.assert_allclose(student.predict([source[i]["image"] for i in found["index"]]), expected, atol=1e-6)


LAYER = """
import keras

@keras.saving.register_keras_serializable("twice")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""
PLUGIN = """
import kdrecipes

def build(classes, image_size, bias):
    import keras
    from twice_layer import Twice
    pixels = keras.Input((image_size, image_size, 3))
    x = Twice()(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dense(classes, use_bias=bias)(keras.layers.Flatten()(x)))

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="twice", build=build, options={
        "type": "object", "additionalProperties": False, "required": ["bias"], "properties": {
            "classes": {"type": "integer"}, "image_size": {"type": "integer"},
            "bias": {"type": "boolean", "description": "whether"}}})
"""


@pytest.mark.slow
def test_a_layer_that_a_plugin_registers_while_it_builds_is_found(tmp_path, home, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "twice_layer.py").write_text(LAYER)
    (tmp_path / "twice.py").write_text(PLUGIN)
    options = ['student={name="twice", bias=true}', "teacher.train.epochs=1", "train.epochs=1"]
    kdrecipes.run(small(*options, plugins=[tmp_path / "twice.py"]), tmp_path / "run")
    keras.saving.get_custom_objects().pop("twice>Twice")  # as in another process
    monkeypatch.delitem(__import__("sys").modules, "twice_layer")
    with pytest.raises(RunError, match="can't be opened: TypeError"):
        kdrecipes.load_student(tmp_path / "run")
    student = kdrecipes.load_student(tmp_path / "run", plugins=[tmp_path / "twice.py"])
    assert student.predict([np.zeros((8, 8, 3), np.uint8)]).shape == (1, 10)


def test_what_is_no_student_is_told(tmp_path, interrupted, finished, home):
    with pytest.raises(UsageError, match=r"nowhere: no such file or run folder\."):
        kdrecipes.load_student(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty is no run folder: it has no lock\.json"):
        kdrecipes.load_student(tmp_path / "empty")
    interrupted(small(), tmp_path / "begun")
    with pytest.raises(UsageError, match="begun holds no trained student yet"):
        kdrecipes.load_student(tmp_path / "begun")
    with pytest.raises(UsageError, match=r"report\.json: a network.s file ends in \.keras, \.onnx, \.pt2"):
        kdrecipes.load_student(finished[0] / "report.json")
