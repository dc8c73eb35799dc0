"""A folder of images: its splits and classes, its order, what is wrong with it."""

from __future__ import annotations

import os
import sys
import unicodedata
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
    with pytest.raises(RunError, match=r"no image in the folder dog\."):
        folder.build("train", path=str(tmp_path / "d"))


def test_broken_image_is_named(tmp_path):
    file = picture(tmp_path / "k" / "1.png", size=(64, 64))
    file.write_bytes(file.read_bytes()[:-30])
    source = folder.build(path=str(tmp_path))
    with pytest.raises(ValueError, match=r"^k/1.png: .*truncated"):
        source[0]
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^k/1.png: the file is empty$"):
        source[0]
    file.write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"^k/1.png: no image that Pillow knows, whatever its suffix$"):
        source[0]


def test_decompression_bomb_is_an_error(tmp_path, monkeypatch):
    picture(tmp_path / "k" / "1.png", size=(40, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow itself only warns below twice this
    with pytest.raises(ValueError, match=r"40×30 pixels are more than dataset.max_pixels = 1000 allows"):
        folder.build(path=str(tmp_path))[0]


# --- what is left out -------------------------------------------------------------------------------------------------

JUNK = [
    ".DS_Store",
    "cat/._1.jpg",
    "cat/Thumbs.db",
    ".ipynb_checkpoints/x.jpg",
    "__MACOSX/cat/x.jpg",
    "cat/@eaDir/x.jpg",
]
JUNK += ["lost+found/x.jpg", "dog/desktop.ini", "THUMBS.DB", "cat/Picasa.ini", "#snapshot/cat/x.jpg"]


@pytest.mark.parametrize("split", ["", "train/"])
def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path, split):
    for kind in ("cat", "dog"):
        picture(tmp_path / split / kind / "1.jpg")
    for name in JUNK:
        picture(tmp_path / split / "cat" / "2.jpg").rename(_made(tmp_path / split / name))
    picture(tmp_path / "__MACOSX" / "x.jpg")  # beside splits it is no split
    source = folder.build(path=str(tmp_path))
    beside = [] if split else ["__MACOSX/x.jpg"]
    assert source.classes == ["cat", "dog"] and len(source) == 2
    assert list(source.left_out) == ["hidden or the system's"]
    assert sorted(*source.left_out.values()) == sorted([*(split + name for name in JUNK), *beside])


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def test_whatever_pillow_reads_is_read_at_any_depth_below_a_class(tmp_path):
    names = ["1.jpg", "2.JPEG", "3.Tif", "4.GIF", "5.jfif", "6.bmp", "7.ppm", "8.jp2", "a/9.png", "a/b/c/d/10.webp"]
    for name in names:
        file = tmp_path / "train" / "cat" / name
        Image.new("RGB", (6, 4), (9, 9, 9)).save(_made(file), "JPEG" if name.endswith("jfif") else None)
    picture(tmp_path / "train" / "dog" / "images" / "x.jpg")
    source = folder.build(path=str(tmp_path))
    found = {source.name_of(i).removeprefix("train/cat/") for i in range(len(source)) if source.label_of(i) == 0}
    assert found == set(names) and source.classes == ["cat", "dog"] and source.left_out == {}
    assert all(source[i]["image"].shape == (4, 6, 3) for i in range(len(source)))


def test_files_are_left_out_by_their_reasons(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.jpg")
    for name in ("cat/a.heic", "cat/b.HEIC", "cat/notes.txt", "cat/README", "stray.png", "film.mpg", "cat/x.eps"):
        (tmp_path / "train" / name).write_bytes(b"x")
    assert folder.build(path=str(tmp_path)).left_out == {
        "with the suffix .heic, which is not read": ["train/cat/a.heic", "train/cat/b.HEIC"],
        "with the suffix .txt, which is not read": ["train/cat/notes.txt"],
        "with the suffix .eps, which is not read": ["train/cat/x.eps"],
        "with the suffix .mpg, which is not read": ["train/film.mpg"],
        "without a suffix": ["train/cat/README"],
        "in no class's folder": ["train/stray.png"],
    }


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_followed_and_those_that_lead_nowhere_or_back_are_left_out(tmp_path):
    cat = tmp_path / "train" / "cat"
    picture(cat / "1.jpg")
    picture(tmp_path / "elsewhere" / "deep" / "2.jpg")
    (cat / "there").symlink_to(tmp_path / "elsewhere")
    (cat / "gone.jpg").symlink_to(cat / "nothing.jpg")
    (cat / "itself.jpg").symlink_to(cat / "itself.jpg")
    (cat / "up").symlink_to(tmp_path / "train")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "again").symlink_to(tmp_path)
    (tmp_path / "train" / "lost").symlink_to(tmp_path / "nothing")
    source = folder.build(path=str(tmp_path))
    assert sorted(map(source.name_of, range(2))) == ["train/cat/1.jpg", "train/cat/there/deep/2.jpg"]
    assert source.classes == ["cat"]
    assert {reason: sorted(names) for reason, names in source.left_out.items()} == {
        "as a link that leads nowhere": ["train/cat/gone.jpg", "train/cat/itself.jpg", "train/lost"],
        "as a link to a folder that it lies in": ["train/again", "train/cat/there/deep/back", "train/cat/up"],
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_no_image(tmp_path):
    picture(tmp_path / "cat" / "1.jpg")
    os.mkfifo(tmp_path / "cat" / "2.jpg")
    assert folder.build(path=str(tmp_path)).left_out == {"neither file nor folder": ["cat/2.jpg"]}


def test_a_folder_that_the_system_refuses_is_an_error_that_names_it(tmp_path, monkeypatch):
    picture(tmp_path / "cat" / "1.jpg")

    def refuse(place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("kdrecipes.components.datasets.folder_files.os.scandir", refuse)
    with pytest.raises(EnvironmentProblem, match=rf"{tmp_path} can't be read: Permission denied\."):
        folder.build(path=str(tmp_path))


# --- other layouts ----------------------------------------------------------------------------------------------------


def refused(path: Path, split: str = "train") -> str:
    with pytest.raises(RunError) as caught:
        folder.build(split, path=str(path))
    return str(caught.value)


def test_classes_of_images_that_lie_deeper_need_no_splits(tmp_path):
    for name in ("cat/2019/1.jpg", "cat/2020/2.jpg", "dog/3.jpg"):
        picture(tmp_path / name)
    source = folder.build(path=str(tmp_path))
    assert source.classes == ["cat", "dog"] and len(source) == 3


def test_an_image_beside_the_classes_makes_no_class_of_a_split(tmp_path):
    for name in ("train/cat/1.jpg", "train/stray.jpg", "test/cat/2.jpg", "test/stray.jpg"):
        picture(tmp_path / name)
    source = folder.build("test", path=str(tmp_path))
    assert source.classes == ["cat"] and source.left_out == {"in no class's folder": ["test/stray.jpg"]}


def test_an_image_beside_the_classes_makes_no_class_beside_images_without_labels_either(tmp_path):
    for name in ("train/cat/1.jpg", "train/stray.jpg", "test/cat/2.jpg", "extra/3.jpg"):
        picture(tmp_path / name)
    source = folder.build(path=str(tmp_path))
    assert source.classes == ["cat"] and source.left_out == {"in no class's folder": ["train/stray.jpg"]}
    assert not folder.build("extra", path=str(tmp_path)).labelled


def test_labels_in_a_file_are_told_what_to_do(tmp_path):
    picture(tmp_path / "tiny" / "train" / "n01" / "images" / "1.jpg")
    picture(tmp_path / "tiny" / "val" / "images" / "2.jpg")
    (tmp_path / "tiny" / "val" / "val_annotations.txt").write_text("2.jpg\tn01")
    assert refused(tmp_path / "tiny", "val").endswith(
        "val holds classes that train does not have: images\nDo the labels stand in val_annotations.txt? It is not "
        "read: an image's class is the name of its folder. Move each image to val/<class>/<image>."
    )
    picture(tmp_path / "flat" / "1.jpg")
    (tmp_path / "flat" / "labels.csv").write_text("1.jpg,cat")
    text = refused(tmp_path / "flat")
    assert "flat holds no images; expected <class>/<image>. Left out: 1 in no class's folder (1.jpg);" in text
    assert "Do the labels stand in labels.csv?" in text and text.endswith("Move each image to <class>/<image>.")


def test_images_without_a_folder_or_a_label_file_are_told_what_to_do(tmp_path):
    picture(tmp_path / "1.jpg")
    assert refused(tmp_path).endswith("An image's class is the name of its folder: <class>/<image>.")


def test_a_layout_for_detection_is_called_so(tmp_path):
    picture(tmp_path / "images" / "1.jpg")
    _made(tmp_path / "labels" / "1.txt").write_text("0 0 0 1 1")
    text = refused(tmp_path)
    assert "no image in the folder labels. Left out: 1 with the suffix .txt, which is not read (labels/1.txt)" in text
    assert "a layout for detection or segmentation" in text


def test_classes_without_an_image_are_all_named_with_what_lies_there(tmp_path):
    picture(tmp_path / "train" / "cat" / "1.jpg")
    for name in ("dog/1.heic", "eel/1.heic", "cat/1.heic"):
        _made(tmp_path / "train" / name).write_bytes(b"x")
    assert refused(tmp_path).endswith(
        "train: no image in the folder dog, eel. Left out: 2 with the suffix .heic, which is not read "
        "(train/dog/1.heic, train/eel/1.heic). Put images there, or remove it"
    )


def test_a_split_of_another_name_is_suggested(tmp_path):
    for name in ("train/cat/1.jpg", "val/cat/1.jpg", "test_set/cat/1.jpg"):
        picture(tmp_path / name)
    (tmp_path / "train" / "empty").mkdir()
    assert "no image in the folder empty. Put images there" in refused(tmp_path)
    (tmp_path / "train" / "empty").rmdir()
    assert refused(tmp_path, "validation").endswith('Did you mean `validation = "val"`?')
    assert refused(tmp_path, "test").endswith('Did you mean `test = "test_set"`?')
    assert "Did you mean" not in refused(tmp_path, "more")


@pytest.mark.parametrize(
    "asked, there, meant",
    [
        ("validation", "valid", '`validation = "valid"`'),
        ("validation", "Val", '`validation = "Val"`'),
        ("validation", "dev", '`validation = "dev"`'),
        ("val", "validation", '`validation = "validation"`'),
        ("train", "Training", '`train = "Training"`'),
        ("test", "testing", '`test = "testing"`'),
        ("unlabeled", "unlabelled", '"unlabelled"'),
    ],
)
def test_a_split_that_goes_by_a_usual_name_is_found(tmp_path, asked, there, meant):
    for name in (there, "other"):
        picture(tmp_path / name / "cat" / "1.jpg")
    assert refused(tmp_path, asked).endswith(f"Did you mean {meant}?")


def test_a_folder_of_another_kind_is_not_taken_for_train(tmp_path):
    for name in ("test/cat/1.jpg", "extra/1.jpg"):
        picture(tmp_path / name)
    assert "Did you mean" not in refused(tmp_path)


def test_val_is_meant_rather_than_dev(tmp_path):
    for name in ("train", "dev", "val"):
        picture(tmp_path / name / "cat" / "1.jpg")
    assert refused(tmp_path, "validation").endswith('Did you mean `validation = "val"`?')


def test_a_class_that_train_writes_otherwise_is_told_so(tmp_path):
    for name in ("train/cat/1.jpg", "train/golden_retriever/1.jpg", "test/Cat/1.jpg", "test/golden-retriever/1.jpg"):
        picture(tmp_path / name)
    picture(tmp_path / "test" / "yak" / "1.jpg")
    assert refused(tmp_path, "test").endswith(
        "holds classes that train does not have: Cat (train has cat), golden-retriever (train has golden_retriever), "
        "yak"
    )


def test_a_folder_around_the_dataset_is_found_out(tmp_path):
    picture(tmp_path / "flowers" / "train" / "daisy" / "1.jpg")
    text = refused(tmp_path)
    assert text.endswith(f"Is flowers the dataset's folder? Then write path = {str(tmp_path / 'flowers')!r}.")


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode there")
def test_names_that_are_not_utf8_are_escaped(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / os.fsdecode(b"g\xe9ant") / os.fsdecode(b"\xff.png"))
        _made(tmp_path / split / os.fsdecode(b"g\xe9ant") / os.fsdecode(b"\xfe.txt")).write_bytes(b"x")
    source = folder.build("test", path=str(tmp_path))
    assert source.classes == [r"g\xe9ant"] and source.name_of(0) == r"test/g\xe9ant/\xff.png"
    assert source.left_out == {"with the suffix .txt, which is not read": [r"test/g\xe9ant/\xfe.txt"]}
    picture(tmp_path / "test" / os.fsdecode(b"\xe8") / "1.png")
    assert refused(tmp_path, "test").endswith(r"holds classes that train does not have: \xe8")


def test_unicode_forms_of_a_name_are_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    picture(tmp_path / "train" / composed / "1.png")
    picture(tmp_path / "train" / "dog" / "1.png")
    picture(tmp_path / "test" / decomposed / "1.png")
    test = folder.build("test", path=str(tmp_path))
    assert test.classes == [composed, "dog"] and test.labels == [0]
    picture(tmp_path / "train" / decomposed / "2.png")
    if len(os.listdir(tmp_path / "train")) == 3:  # some file systems take them for one name
        assert r"two folders look alike and differ in their Unicode form: 'cafe\u0301' and 'caf\xe9'" in refused(
            tmp_path
        )
