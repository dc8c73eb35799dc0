"""TensorFlow Datasets: prepared in a process of its own, read without TensorFlow."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import offline, place_downloads

from kdrecipes.components.datasets import tfds
from kdrecipes.errors import EnvironmentProblem, RunError

pytestmark = pytest.mark.usefixtures("places")


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


def test_a_prepared_builder_is_read_without_tensorflow(hands, no_child):
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


def test_a_split_or_a_feature_that_is_not_there_is_told(hands, no_child):
    def build(split="train", **options):
        tfds.build(split, builder="rock_paper_scissors", data_dir=str(hands), **options)

    with pytest.raises(RunError, match=r"no split 'validation'; it has 'train', 'test'.*`validation = 0.1`"):
        build("validation")
    with pytest.raises(RunError, match=r"dataset.image_key: .* has no Image feature 'photo'; it has 'image'"):
        build(image_key="photo")
    with pytest.raises(RunError, match=r"dataset.label_key: .* has no ClassLabel feature 'image'; it has 'label'"):
        build(label_key="image")


@pytest.mark.slow
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
def test_what_cannot_be_prepared_is_one_line(options, error, message):
    with pytest.raises(error, match=message) as caught:
        tfds.build("train", **options)
    assert "\n" not in str(caught.value)


def test_a_preparing_process_that_ends_unexpectedly_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(EnvironmentProblem, match="the process ended with code 1: no message"):
        tfds.build("train", builder="rock_paper_scissors")


def test_a_preparing_process_has_a_time_limit():
    with pytest.raises(EnvironmentProblem, match="had not prepared 'rock_paper_scissors' after 0 seconds"):
        tfds.prepare("rock_paper_scissors", limit=0.01)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_a_builder_that_needs_tensorflow_says_so():
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


def test_tfrecord_files_are_converted_once_for_each_state_of_them(hands, tmp_path, no_child):
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


def test_a_damaged_tfrecord_file_is_told_and_nothing_is_kept(hands, tmp_path, no_child):
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
def test_tfds_keeps_the_contract(hands):
    from kdrecipes.testing import check_dataset

    for split in ("train", "test"):  # one at a time: these pictures of test are pictures of train
        check_dataset(tfds.COMPONENT, split=[split], builder="rock_paper_scissors", data_dir=str(hands))
