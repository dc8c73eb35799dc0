"""FashionMNIST from its four files: where they are found, what damage is called, how they are obtained."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import idx, place_downloads, write_idx

from kdrecipes.components.datasets import digits, fashion_mnist, tfds
from kdrecipes.errors import EnvironmentProblem, RunError

pytestmark = pytest.mark.usefixtures("places")


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("name", ["{}-{}-ubyte", "{}-{}-ubyte dotted"])
def test_idx_files_are_read_under_either_name_packed_or_not(tmp_path, no_child, end, name):
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
def test_a_truncated_idx_file_is_told_with_its_sizes(tmp_path, end):
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


def test_a_packed_file_that_was_cut_is_told_as_truncated(tmp_path):
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
def test_an_idx_file_with_wrong_content_is_told(tmp_path, kind, data, message):
    where = write_idx(tmp_path / "data")
    (where / f"train-{kind}-ubyte").write_bytes(data)
    with pytest.raises(RunError, match=message):
        fashion_mnist.build("train", path=str(where))


def test_path_without_the_files_is_an_error(tmp_path, no_child):
    write_idx(tmp_path / "home/fashion_mnist")  # never a silent substitute for what was asked for
    with pytest.raises(EnvironmentProblem, match=r"dataset.path: .*/nowhere does not hold .* train-images-idx3-ubyte"):
        fashion_mnist.build("train", path=str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_where_the_files_are_nowhere_the_ways_to_get_them_are_told(tmp_path):
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_tfds_obtains_the_files_where_nothing_else_does(tmp_path):
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
