"""Food-101 through TFDS' own builder, from a small archive in Food-101's own layout, to the report."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import classifier_of, place_downloads

from kdrecipes.backend import keras

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST = 4, 1  # images a class


def jpeg(generator):
    """A picture of random size and colours."""
    height, width = generator.integers(40, 90, 2)
    buffer = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "jpeg")
    return buffer.getvalue()


def archive(names):
    """`food-101.tar.gz` in miniature; the first training image is cut off."""
    generator, buffer = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:

        def add(name, content):
            info = tarfile.TarInfo(f"food-101/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        for split, count in (("train", TRAIN), ("test", TEST)):
            listed = {name: [f"{name}/{split}{i}" for i in range(count)] for name in names}
            for i, image in enumerate(image for images in listed.values() for image in images):
                content = jpeg(generator)
                add(f"images/{image}.jpg", content[: len(content) // 2] if (split, i) == ("train", 0) else content)
            add(f"meta/{split}.json", json.dumps(listed).encode())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """On a machine whose downloads hold the archive, and where fits have one epoch of two steps: a preset folder of
    EfficientNet-B0.
    """
    import tensorflow_datasets

    folder = tmp_path_factory.mktemp("food101")
    names = Path(tensorflow_datasets.__file__).parent / "image_classification" / "food-101_classes.txt"
    place_downloads(folder / "tfds", "food101", {"food-101.tar.gz": archive(names.read_text().split())})
    classifier_of("efficientnet_b0_ra_imagenet", classes=1000).save_to_preset(str(folder / "preset"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("KDRECIPES_HOME", str(folder / "home"))
        patch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
        keras.config.set_max_epochs(1)
        keras.config.set_max_steps_per_epoch(2)
        yield folder / "preset"
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)


def small(preset, *more):
    """The shipped recipe, on pictures and batches that fit a test."""
    changes = [
        'teacher.weights="none"',
        'teacher.preflight="warn"',
        f'student.preset="{preset}"',
        "dataset.image_size=32",
        "dataset.store_size=40",
        "teacher.image_size=40",
        "teacher.train.epochs=1",
        "train.epochs=1",
        "train.batch_size=8",
        "report.measure=false",
        *more,
    ]
    return ["recipes/food101_b0.toml", *[part for change in changes for part in ("--set", change)]]


@pytest.mark.slow
def test_the_shipped_recipe_runs_end_to_end(prepared, tmp_path, call):
    options = ["dataset.corrupt_limit=0.01", 'dataset.train="train[:15%]"', 'dataset.validation="train[90%:]"']
    code, _, err = call("run", *small(prepared, *options), "--out", tmp_path / "run", "--device", "cpu")
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [arm["arm"] for arm in report["arms"]] == ["baseline", "kd"]
    assert all(arm["steps"] == 2 for arm in report["arms"])
    assert report["dataset"]["skipped"] == 1 and report["dataset"]["test"] == 101 * TEST
    # EfficientNet-B0 with 101 classes, and BiT-M R50x1 with as many.
    assert report["teachers"][0]["params"] == 23_707_301
    assert report["arms"][0]["params"] == report["arms"][1]["params"]


@pytest.mark.slow
def test_a_damaged_jpeg_is_named_where_none_is_allowed(prepared, tmp_path, call):
    sets = small(prepared, "dataset.corrupt_limit=0")
    code, _, err = call("run", *sets, "--out", tmp_path / "run", "--device", "cpu")
    assert code == 1 and "Traceback" not in err
    assert "food101-train" in err
    assert "dataset.corrupt_limit = 0.0 is a share too and allows 0 of" in err
