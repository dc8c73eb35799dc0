"""A folder of images: its splits and classes, its order, what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdrecipes.components.datasets import folder
from kdrecipes.errors import EnvironmentProblem, RunError

pytestmark = pytest.mark.usefixtures("places")


def picture(file: Path, color=(200, 100, 50), size=(6, 4)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(file)
    return file


def test_folders_of_splits_are_read_in_a_mixed_order(tmp_path):
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


def test_a_folder_without_splits_is_all_train(tmp_path):
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


def test_what_is_wrong_with_a_folder_is_told(tmp_path):
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
