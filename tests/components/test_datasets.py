"""The dataset sources: digits, FashionMNIST's files, TFDS builders, folders of images."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from samples import idx, place_downloads, write_idx

from kdrecipes.components.datasets import digits, fashion_mnist, folder, tfds
from kdrecipes.errors import EnvironmentProblem, RunError


@pytest.fixture(autouse=True)
def places(tmp_path, home, monkeypatch):
    """Nothing outside the test's own folder is read or written, and there is no network."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(fashion_mnist, "ROOT", tmp_path / "root")
    offline(monkeypatch)


def offline(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def no_child(monkeypatch):
    """Starting a process is an error."""

    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


# --- what all share ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [digits, fashion_mnist, folder, tfds])
def test_options_are_described(module):
    component = module.COMPONENT
    jsonschema.Draft7Validator.check_schema(component.options)
    assert component.kind == "dataset" and component.summary
    assert component.options["additionalProperties"] is False
    assert "split" in component.options["properties"]
    assert all(option["description"] for option in component.options["properties"].values())


def test_importing_the_sources_is_light():
    heavy = ["tensorflow", "tensorflow_datasets", "sklearn", "PIL", "torch", "keras"]
    code = (
        "import sys; from kdrecipes.components.datasets import digits, fashion_mnist, folder, tfds; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    root = str(Path(digits.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}
    )
    assert done.stdout.strip() == "[]", done.stderr


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits():
    train, test = digits.build(), digits.build("test")
    assert (len(train), len(test)) == (1437, 360)
    images, labels = train.arrays()
    assert images.shape == (1437, 8, 8, 1) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 255
    assert train.classes == [str(digit) for digit in range(10)]
    example = train[5]
    assert np.array_equal(example["image"], images[5]) and type(example["label"]) is int
    assert train.fingerprint == digits.build().fingerprint != test.fingerprint
    assert train.name_of(5) == "digits/train[5]"


def test_digits_splits_are_a_fixed_partition():
    from sklearn.datasets import load_digits

    data = load_digits()
    whole = {pixels.tobytes() for pixels in np.round(data.images * 255 / 16).astype(np.uint8)}
    parts = [{image.tobytes() for image in digits.build(split).images} for split in ("train", "test")]
    assert parts[0] | parts[1] == whole and not parts[0] & parts[1]
    # the split is part of every published number: it must never move
    assert digits.build("test").labels[:12].tolist() == [3, 0, 8, 1, 5, 4, 0, 0, 6, 4, 6, 3]


@pytest.mark.parametrize("build", [digits.build, fashion_mnist.build])
def test_missing_split(build):
    with pytest.raises(RunError, match=r"no split 'validation'; it has 'train', 'test'.*`validation = 0.1`"):
        build("validation")
    with pytest.raises(RunError, match=r"no split 'nope'; it has 'train', 'test'$"):
        build("nope")


# --- FashionMNIST -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("name", ["{}-{}-ubyte", "{}-{}-ubyte dotted"])
def test_idx_files(tmp_path, no_child, end, name):
    where = write_idx(tmp_path / "data", end=end)
    if name.endswith("dotted"):
        for file in where.iterdir():
            file.rename(where / file.name.replace("-idx", ".idx"))
    train = fashion_mnist.build("train", path=str(where))
    images, labels = train.arrays()
    assert images.shape == (30, 28, 28, 1) and images.dtype == np.uint8
    assert labels.dtype == np.int64 and labels.tolist() == [i % 10 for i in range(30)]
    assert np.array_equal(images[..., 0], np.random.default_rng(30).integers(0, 256, (30, 28, 28)))
    assert train.classes[0] == "T-shirt/top" and train.classes[9] == "Ankle boot" and len(train.classes) == 10
    assert len(fashion_mnist.build("test", path=str(where))) == 10


@pytest.mark.parametrize(
    "place",
    [
        "home/fashion_mnist",
        "home/fashion_mnist/usr/share/datasets/fashion-mnist",
        "root/usr/share/datasets/fashion-mnist",
    ],
)
def test_idx_files_are_found(tmp_path, no_child, place):
    where = write_idx(tmp_path / place, end=".gz")
    assert len(fashion_mnist.build("test")) == 10
    assert fashion_mnist.obtain() == f"FashionMNIST: {where}"


def test_idx_fingerprint_follows_the_files(tmp_path):
    where = write_idx(tmp_path / "data")
    before = fashion_mnist.build("train", path=str(where)).fingerprint
    assert before == fashion_mnist.build("train", path=str(where)).fingerprint
    os.utime(where / "train-labels-idx1-ubyte", ns=(1, 1))
    assert before != fashion_mnist.build("train", path=str(where)).fingerprint


@pytest.mark.parametrize("end", ["", ".gz"])
def test_truncated_idx_file(tmp_path, end):
    where = write_idx(tmp_path / "data")
    file = where / "train-images-idx3-ubyte"
    data = file.read_bytes()[:-100]
    file.unlink()
    file = file.with_name(file.name + end)
    file.write_bytes(gzip.compress(data) if end else data)
    with pytest.raises(RunError) as caught:
        fashion_mnist.build("train", path=str(where))
    size = 16 + 30 * 28 * 28
    assert str(caught.value) == f"{file} is truncated: expected {size} bytes, received {size - 100}"


def test_cut_gzip_file(tmp_path):
    where = write_idx(tmp_path / "data", end=".gz")
    file = where / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(RunError, match=rf"{file} is truncated: expected 23536 bytes, received \d+"):
        fashion_mnist.build("train", path=str(where))


@pytest.mark.parametrize(
    "kind, data, message",
    [
        ("images-idx3", b"\0\0", "truncated: expected a header of 16 bytes, received 2"),
        ("images-idx3", idx(np.zeros(30)) + b"\0" * 8, "expected magic number 2051, received 2049"),
        ("labels-idx1", idx(np.zeros(29)), "holds 30 images, .* 29 labels"),
        ("labels-idx1", idx(np.zeros(30)) + b"\0", "longer than its header says: expected 38 bytes"),
        ("labels-idx1", idx(np.full(30, 10)), "holds the label 10"),
        ("images-idx3", idx(np.zeros((30, 8, 8))), "8×8 pixels; FashionMNIST's are 28×28"),
        ("images-idx3", struct.pack(">4I", 2051, 1 << 31, 1 << 15, 1 << 15), "truncated"),
    ],
)
def test_wrong_idx_file(tmp_path, kind, data, message):
    where = write_idx(tmp_path / "data")
    (where / f"train-{kind}-ubyte").write_bytes(data)
    with pytest.raises(RunError, match=message):
        fashion_mnist.build("train", path=str(where))


def test_path_without_the_files_is_an_error(tmp_path, no_child):
    write_idx(tmp_path / "home/fashion_mnist")  # never a silent substitute for what was asked for
    with pytest.raises(EnvironmentProblem, match=r"dataset.path: .*/nowhere does not hold .* train-images-idx3-ubyte"):
        fashion_mnist.build("train", path=str(tmp_path / "nowhere"))


def test_fashion_mnist_nowhere(tmp_path):
    with pytest.raises(EnvironmentProblem) as caught:
        fashion_mnist.build("train")
    text = str(caught.value)
    assert "cannot prepare 'fashion_mnist'" in text and "127.0.0.1" in text
    assert "option `path`" in text and "python -m kdrecipes.components.datasets.fashion_mnist" in text
    assert f"apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb '{tmp_path}/home" in text
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """Stand-ins for apt-get and dpkg-deb, and a TFDS that is offline."""
    write_idx(tmp_path / "package/usr/share/datasets/fashion-mnist", end=".gz")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text("#!/bin/sh\n: > dataset-fashion-mnist_1_all.deb\n")
    (programs / "dpkg-deb").write_text(f'#!/bin/sh\ncp -r "{tmp_path}/package" "$3"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def unavailable(*_, **__):
        raise EnvironmentProblem("TFDS is offline")

    monkeypatch.setattr(tfds, "prepare", unavailable)
    return programs


def test_obtain_unpacks_the_debian_package(tmp_path, debian):
    home = tmp_path / "home"
    expected = f"FashionMNIST: {home}/fashion_mnist/usr/share/datasets/fashion-mnist"
    assert fashion_mnist.obtain() == expected
    assert fashion_mnist.obtain() == expected
    assert len(fashion_mnist.build("train")) == 30
    assert [entry.name for entry in home.iterdir()] == ["fashion_mnist"]


def test_obtain_leaves_nothing_half_done(tmp_path, debian):
    (debian / "dpkg-deb").write_text('#!/bin/sh\nmkdir -p "$3/usr"\necho "dpkg-deb: error: bad archive" >&2\nexit 2\n')
    with pytest.raises(
        EnvironmentProblem, match=r"(?s)TFDS is offline\n.*dpkg-deb: error: bad archive\n.*option `path`"
    ):
        fashion_mnist.obtain()
    assert list((tmp_path / "home").iterdir()) == []


def test_the_command_says_what_to_do(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(digits.__file__).parents[3]), "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kdrecipes.components.datasets.fashion_mnist"],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode == 0:  # the Debian package is installed on this machine
        assert "/usr/share/datasets" in done.stdout
        return
    assert done.returncode == 3 and done.stdout == ""
    assert "Traceback" not in done.stderr and "apt-get download dataset-fashion-mnist" in done.stderr


# --- folders ----------------------------------------------------------------------------------------------------------


def picture(file: Path, color=(200, 100, 50), size=(6, 4)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(file)
    return file


def test_folder_with_splits(tmp_path):
    for number in range(8):
        for kind in ("cat", "dog"):
            picture(tmp_path / "d" / "train" / kind / f"{number}.png", (number, 0, 0))
    picture(tmp_path / "d" / "test" / "dog" / "x.JPG")
    picture(tmp_path / "d" / "test" / "dog" / "._x.jpg")
    (tmp_path / "d" / "test" / "dog" / "notes.txt").write_text("not an image")
    train, test = folder.build(path=str(tmp_path / "d")), folder.build("test", path=str(tmp_path / "d"))
    assert train.classes == test.classes == ["cat", "dog"]
    assert len(train) == 16 and len(test) == 1 and test[0]["label"] == 1
    names = [train.name_of(i) for i in range(16)]
    assert names[0].startswith("train/") and set(train.labels[:8]) == {0, 1} and names != sorted(names)
    for i in range(16):
        example = train[i]
        assert example["image"].shape == (4, 6, 3) and example["image"].dtype == np.uint8
        assert names[i] == f"train/{train.classes[example['label']]}/{example['image'][0, 0, 0]}.png"
    with pytest.raises(RunError, match=r"no split 'validation'; it has 'test', 'train'.*`validation = 0.1`"):
        folder.build("validation", path=str(tmp_path / "d"))


def test_folder_order_is_the_same_everywhere(tmp_path):
    for place in ("a", "b"):
        for number in range(6) if place == "a" else reversed(range(6)):
            picture(tmp_path / place / "k" / f"{number}.png")
    first, second = (folder.build(path=str(tmp_path / place)) for place in ("a", "b"))
    assert [first.name_of(i) for i in range(6)] == [second.name_of(i) for i in range(6)]


def test_folder_without_splits(tmp_path):
    # a class may be called like a split
    for kind in ("train", "plane"):
        picture(tmp_path / kind / "1.webp")
    source = folder.build(path=str(tmp_path))
    assert source.classes == ["plane", "train"] and len(source) == 2
    with pytest.raises(RunError, match="no split 'test'; it has 'train'"):
        folder.build("test", path=str(tmp_path))


def test_folder_fingerprint_follows_the_files(tmp_path):
    file = picture(tmp_path / "d" / "k" / "1.png")
    before = folder.build(path=str(tmp_path / "d")).fingerprint
    os.utime(file, ns=(1, 1))
    after = folder.build(path=str(tmp_path / "d")).fingerprint
    picture(tmp_path / "d" / "k" / "2.png")
    assert len({before, after, folder.build(path=str(tmp_path / "d")).fingerprint}) == 3


def test_folder_errors(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"dataset.path: .*nowhere is not a folder"):
        folder.build(path=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no images"):
        folder.build(path=str(tmp_path / "empty"))
    picture(tmp_path / "d" / "train" / "cat" / "1.png")
    picture(tmp_path / "d" / "test" / "cow" / "1.png")
    with pytest.raises(RunError, match="holds classes that train does not have: cow"):
        folder.build("test", path=str(tmp_path / "d"))
    (tmp_path / "d" / "train" / "dog").mkdir()
    with pytest.raises(RunError, match=r"no image .* in the folder dog"):
        folder.build("train", path=str(tmp_path / "d"))


def test_broken_image_is_named(tmp_path):
    file = picture(tmp_path / "k" / "1.png", size=(64, 64))
    file.write_bytes(file.read_bytes()[:-30])
    source = folder.build(path=str(tmp_path))
    with pytest.raises(ValueError, match=str(file)):
        source[0]


def test_decompression_bomb_is_an_error(tmp_path, monkeypatch):
    picture(tmp_path / "k" / "1.png", size=(40, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow itself only warns below twice this
    with pytest.raises(ValueError, match="1200 pixels"), pytest.warns(Image.DecompressionBombWarning):
        folder.build(path=str(tmp_path))[0]


def gray16() -> Image.Image:
    return Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    return image


@pytest.mark.parametrize(
    "image, save, pixels",
    [
        (Image.new("L", (1, 1), 7), {}, [[7, 7, 7]]),
        (Image.new("1", (1, 1), 1), {}, [[255, 255, 255]]),
        (palette(), {}, [[10, 20, 30], [40, 50, 60]]),
        (palette(), {"transparency": 1}, [[10, 20, 30], [0, 0, 0]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 0)), {}, [[0, 0, 0]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 255)), {}, [[200, 100, 50]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 51)), {}, [[40, 20, 10]]),
        (Image.new("LA", (1, 1), (200, 51)), {}, [[40, 40, 40]]),
        (gray16(), {}, [[0, 0, 0], [100, 100, 100], [255, 255, 255]]),
    ],
)
def test_modes_become_rgb(image, save, pixels):
    stream = io.BytesIO()
    image.save(stream, "png", **save)
    stream.seek(0)
    decoded = folder.decode(stream)
    assert decoded.dtype == np.uint8 and decoded.tolist() == [pixels]


def test_cmyk_becomes_rgb():
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(stream, "jpeg", quality=95)
    stream.seek(0)
    assert np.abs(folder.decode(stream)[4, 4].astype(int) - [255, 0, 0]).max() < 8


def test_exif_orientation():
    image = Image.new("RGB", (2, 1))
    image.putdata([(255, 0, 0), (0, 0, 255)])
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    stream = io.BytesIO()
    image.save(stream, "png", exif=exif)
    assert folder.decode(io.BytesIO(stream.getvalue())).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]
    assert folder.decode(io.BytesIO(stream.getvalue()), upright=False).shape == (1, 2, 3)


# --- TFDS -------------------------------------------------------------------------------------------------------------


HANDS = ("rock", "paper", "scissors")


def archive(top: str, count: int) -> bytes:
    """What the builder rock_paper_scissors reads: pictures whose red is their number and whose green their class."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for label, hand in enumerate(HANDS):
            for number in range(count):
                picture = io.BytesIO()
                Image.new("RGB", (300, 300), (number, label, 9)).save(picture, "png")
                file.writestr(f"{top}/{hand}/{hand}{number}.png", picture.getvalue())
    return stream.getvalue()


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """A data folder with TFDS's own builder rock_paper_scissors, prepared in a child process, without a network."""
    where = tmp_path_factory.mktemp("hands")
    with pytest.MonkeyPatch.context() as patch:
        offline(patch)
        patch.setenv("KDRECIPES_HOME", str(where / "home"))
        files = {"rps.zip": archive("rps", 4), "rps-test-set.zip": archive("rps-test-set", 2)}
        place_downloads(where / "data", "rock_paper_scissors", files)
        tfds.prepare("rock_paper_scissors", data_dir=str(where / "data"))
    return where / "data"


def contents(source) -> set[tuple[int, int, int]]:
    examples = [source[i] for i in range(len(source))]
    return {(int(e["image"][0, 0, 0]), int(e["image"][-1, -1, 1]), e["label"]) for e in examples}


def test_tfds_builder(hands, no_child):
    had_tensorflow = "tensorflow" in sys.modules  # another test's doing
    source = tfds.build("train", builder="rock_paper_scissors", data_dir=str(hands))
    assert len(source) == 12 and source.classes == list(HANDS)
    assert source[0]["image"].shape == (300, 300, 3) and source[0]["image"].dtype == np.uint8
    assert type(source[0]["label"]) is int
    assert contents(source) == {(number, label, label) for number in range(4) for label in range(3)}
    assert source.name_of(11) == "rock_paper_scissors-train.array_record-00000-of-00001__11"
    test = tfds.build("test", builder="rock_paper_scissors", version="3.0.0", data_dir=str(hands))
    assert len(test) == 6 and test.fingerprint != source.fingerprint
    assert ("tensorflow" in sys.modules) == had_tensorflow


def test_tfds_errors(hands, no_child):
    def build(split="train", **options):
        tfds.build(split, builder="rock_paper_scissors", data_dir=str(hands), **options)

    with pytest.raises(RunError, match=r"no split 'validation'; it has 'train', 'test'.*`validation = 0.1`"):
        build("validation")
    with pytest.raises(RunError, match=r"dataset.image_key: .* has no Image feature 'photo'; it has 'image'"):
        build(image_key="photo")
    with pytest.raises(RunError, match=r"dataset.label_key: .* has no ClassLabel feature 'image'; it has 'label'"):
        build(label_key="image")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"builder": "no_such_thing"}, RunError, "^TensorFlow Datasets has no builder 'no_such_thing'$"),
        (
            {"builder": "rock_paper_scissors", "version": "9.9.9"},
            EnvironmentProblem,
            "cannot be loaded at version 9.9.9",
        ),
        ({"builder": "rock_paper_scissors"}, EnvironmentProblem, "^.*cannot prepare .*: .*127.0.0.1.*$"),
    ],
)
def test_tfds_cannot_prepare(options, error, message):
    with pytest.raises(error, match=message) as caught:
        tfds.build("train", **options)
    assert "\n" not in str(caught.value)


def test_tfds_process_ends_unexpectedly(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(EnvironmentProblem, match="the process ended with code 1: no message"):
        tfds.build("train", builder="rock_paper_scissors")


def test_tfds_time_limit():
    with pytest.raises(EnvironmentProblem, match="had not prepared 'rock_paper_scissors' after 0 seconds"):
        tfds.prepare("rock_paper_scissors", limit=0.01)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_tfds_needs_tensorflow():
    # this builder names TensorFlow's types, for which there is no stand-in
    with pytest.raises(EnvironmentProblem, match=r"needs TensorFlow to prepare .*: pip install tensorflow\. Reading"):
        tfds.prepare("titanic")


def as_tfrecord(hands: Path, where: Path) -> list[Path]:
    """Copy the prepared builder into TFRecord files, as TFDS would have written them. Returns the files."""
    from array_record.python import array_record_data_source

    shutil.copytree(hands / "rock_paper_scissors", where / "rock_paper_scissors")
    files = []
    for old in sorted((where / "rock_paper_scissors" / "3.0.0").glob("*.array_record-*")):
        records = array_record_data_source.ArrayRecordDataSource([str(old)])
        new = old.with_name(old.name.replace("array_record", "tfrecord"))
        parts = [struct.pack("<QI", len(records[i]), 0) + records[i] + bytes(4) for i in range(len(records))]
        new.write_bytes(b"".join(parts))
        old.unlink()
        files.append(new)
    info = where / "rock_paper_scissors" / "3.0.0" / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    return files


def test_tfds_prepared_as_tfrecord(hands, tmp_path, no_child):
    options = {"builder": "rock_paper_scissors", "data_dir": str(tmp_path / "data")}
    files = as_tfrecord(hands, tmp_path / "data")
    original = tfds.build("train", builder="rock_paper_scissors", data_dir=str(hands))
    for _ in range(2):  # converted, then found
        source = tfds.build("train", **options)
        assert [source[i]["label"] for i in range(12)] == [original[i]["label"] for i in range(12)]
        assert all(np.array_equal(source[i]["image"], original[i]["image"]) for i in range(12))
    copies = list((tmp_path / "home" / "tfds").glob("*/rock_paper_scissors/3.0.0"))
    assert len(copies) == 1
    assert sorted(file.name for file in copies[0].parent.iterdir()) == ["3.0.0"]
    os.utime(files[0], ns=(1, 1))  # the files changed: the copy is stale
    tfds.build("train", **options)
    assert len(list((tmp_path / "home" / "tfds").glob("*/rock_paper_scissors/3.0.0"))) == 2


def test_tfds_damaged_tfrecord(hands, tmp_path, no_child):
    files = as_tfrecord(hands, tmp_path / "data")
    whole = files[1].read_bytes()
    first = 16 + struct.unpack("<Q", whole[:8])[0]
    for data, message in [
        (whole[:-9], "is truncated or damaged: .* bytes left where .* are announced"),
        (whole[: first + 5], "is truncated or damaged"),
        (b"\xff" * 40, "is truncated or damaged"),
        (whole[:first], "holds 1 examples; its dataset_info.json says 12"),
    ]:
        files[1].write_bytes(data)
        with pytest.raises(RunError, match=f"{files[1].name} {message}"):
            tfds.build("train", builder="rock_paper_scissors", data_dir=str(tmp_path / "data"))
    assert not list((tmp_path / "home" / "tfds").glob("*/rock_paper_scissors/*"))


@pytest.mark.slow
def test_fashion_mnist_through_tfds(tmp_path):
    had_tensorflow = "tensorflow" in sys.modules
    files = {}
    for prefix, count in (("train", 60000), ("t10k", 10000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count) % 10
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(images), 1)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(count) % 10), 1)
    place_downloads(tmp_path / "tfds", "fashion_mnist", files)
    assert fashion_mnist.obtain() == f"FashionMNIST: {tmp_path}/tfds/fashion_mnist/3.0.1"
    train, test = fashion_mnist.build("train"), fashion_mnist.build("test")
    assert (len(train), len(test)) == (60000, 10000) and train.classes == fashion_mnist.CLASSES
    for i in range(0, 10000, 97):
        example = test[i]
        assert example["image"].shape == (28, 28, 1) and example["image"][0, 0, 0] == example["label"]
    assert ("tensorflow" in sys.modules) == had_tensorflow


def test_tfds_keeps_the_contract(hands):
    from kdrecipes.testing import check_dataset

    for split in ("train", "test"):  # one at a time: these pictures of test are pictures of train
        check_dataset(tfds.COMPONENT, split=[split], builder="rock_paper_scissors", data_dir=str(hands))
