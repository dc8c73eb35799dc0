"""Arrays in files: names and splits, scaled numbers, labels, and what is wrong with them, all at once."""

from __future__ import annotations

import numpy as np
import pytest

from kdrecipes.components.datasets import arrays
from kdrecipes.errors import EnvironmentProblem, RunError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1, 1, 0])


def npz(folder, name="d.npz", **named):
    np.savez(folder / name, **named)
    return str(folder / name)


def npy(folder, **named):
    for name, array in named.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


@pytest.mark.parametrize("save", [npz, npy])
@pytest.mark.parametrize("form", ["{split}_images {split}_labels", "x_{split} y_{split}", "{split}_X {split}_y"])
def test_pairs_are_found_by_their_usual_names(tmp_path, save, form):
    named = {}
    for split, part in (("train", slice(4)), ("test", slice(4, 6))):
        for name, array in zip(form.format(split=split).split(), (IMAGES, LABELS), strict=True):
            named[name] = array[part]
    path = save(tmp_path, **named)
    train, test = arrays.build(path=path), arrays.build("test", path=path)
    assert train.classes == test.classes == ["0", "1"] and (len(train), len(test)) == (4, 2)
    np.testing.assert_array_equal(test[1]["image"], IMAGES[5])
    assert [train[i]["label"] for i in range(4)] == LABELS[:4].tolist()
    assert train.labels.dtype == np.int64 and train[0]["image"].dtype == np.uint8
    with pytest.raises(RunError, match=r"no split 'val'; it has 'test', 'train'"):
        arrays.build("val", path=path)


def test_one_pair_is_train_and_other_names_can_be_said(tmp_path):
    assert len(arrays.build(path=npz(tmp_path, images=IMAGES, labels=LABELS))) == 6
    path = npz(tmp_path, faces_train=IMAGES, ids_train=LABELS, other=LABELS)
    assert len(arrays.build(path=path, images="faces_{split}", labels="ids_{split}")) == 6
    with pytest.raises(RunError, match=r"no array of images is called images or image or x.*there are 'faces_train'"):
        arrays.build(path=path)
    with pytest.raises(RunError, match=r"'images' and 'x' could both be the images of train\. Say which"):
        arrays.build(path=npz(tmp_path, images=IMAGES, x=IMAGES, y=LABELS))


def test_npy_files_are_mapped(tmp_path):
    source = arrays.build(path=npy(tmp_path, images=IMAGES, labels=LABELS))
    assert isinstance(source.arrays()[0].array, np.memmap)


@pytest.mark.parametrize(
    ("images", "value_range", "expected"),
    [
        (IMAGES / np.float32(255), [0.0, 1.0], IMAGES),
        (IMAGES / 127.5 - 1, [-1.0, 1.0], IMAGES),
        (np.array([0, 8, 16]).reshape(3, 1, 1), [0.0, 16.0], np.array([0, 128, 255]).reshape(3, 1, 1)),  # 127.5: even
        (np.array([False, True, True]).reshape(3, 1, 1), [0, 1], np.array([0, 255, 255]).reshape(3, 1, 1)),
    ],
)
def test_a_declared_range_becomes_0_to_255(tmp_path, images, value_range, expected):
    source = arrays.build(path=npz(tmp_path, x=images, y=LABELS[: len(images)]), range=value_range)
    np.testing.assert_array_equal(source.arrays()[0][:], expected)
    assert source[1]["image"].dtype == np.uint8


def test_a_number_outside_the_range_is_told(tmp_path):
    for value in (1.5, np.nan):
        images = np.zeros((6, 2, 2))
        images[3, 0, 0] = value
        source = arrays.build(path=npz(tmp_path, x=images, y=LABELS), range=[0, 1])
        assert source[2]["image"].max() == 0
        with pytest.raises(RunError, match=rf"^dataset.range: d.npz\[x\] holds {value:g}, which is outside range = "):
            source[3]


def test_labels_are_numbers_text_or_none(tmp_path):
    source = arrays.build(path=npz(tmp_path, x=IMAGES, y=np.array(["b", "a", "b", "b", "", "a"])))
    assert source.classes == ["a", "b"] and source.labels.tolist() == [1, 0, 1, 1, 0]
    source = arrays.build(path=npz(tmp_path, x=IMAGES, y=LABELS[:, None]), classes=["cat", "dog", "eel"])
    assert source.classes == ["cat", "dog", "eel"] and source.labels.tolist() == LABELS.tolist()


def test_a_label_of_minus_one_is_none(tmp_path):
    path = npz(tmp_path, x=IMAGES, y=np.array([5, -1, 7, 7, -1, 5]))
    train, others = arrays.build(path=path), arrays.build("unlabelled", path=path)
    assert train.labels.tolist() == [0, 1, 1, 0] and train.classes == ["5", "7"] and train.labelled
    assert train.left_out == {"without a label, which are the split 'unlabelled'": ["d.npz[x][1]", "d.npz[x][4]"]}
    assert len(others) == 2 and not others.labelled
    np.testing.assert_array_equal(others[1]["image"], IMAGES[4])
    np.testing.assert_array_equal(train.arrays()[0][1:3], IMAGES[2:4])
    path = npz(tmp_path, train_x=IMAGES, train_y=LABELS, extra_x=IMAGES)
    assert not arrays.build("extra", path=path).labelled


WEIGHTS = np.array([1, 0.5, 0, 2, 3, 4], np.float32)


@pytest.mark.parametrize("save", [npz, npy])
def test_weights_go_with_their_images(tmp_path, save):
    path = save(tmp_path, x=IMAGES, y=np.array([5, -1, 7, 7, -1, 5]), weights=WEIGHTS[:, None])
    train, others, plain = (arrays.build(path=path, **o) for o in ({}, {"split": "unlabelled"}, {"weights": ""}))
    assert train.weights.tolist() == [1, 0, 2, 4] and others.weights.tolist() == [0.5, 3] and plain.weights is None
    assert train.fingerprint != plain.fingerprint


def test_weights_of_a_split_and_of_another_name_are_found(tmp_path):
    named = {"train_x": IMAGES, "train_y": LABELS, "test_x": IMAGES, "test_y": LABELS}
    path = npz(tmp_path, **named, train_w=WEIGHTS, train_sample_weight=WEIGHTS + 1)
    assert arrays.build(path=path).weights.tolist() == (WEIGHTS + 1).tolist()
    assert arrays.build("test", path=path).weights is None
    for name in ("sample_weight", "weights_train", "sample_weights_train"):
        found = arrays.build(path=npz(tmp_path, "one.npz", x=IMAGES, y=LABELS, **{name: WEIGHTS}))
        assert found.weights.tolist() == WEIGHTS.tolist(), name
    assert arrays.build(path=path, weights="{split}_w").weights.tolist() == WEIGHTS.tolist()
    with pytest.raises(RunError, match=r"^dataset.weights: no array of weights is called importance; there are 't"):
        arrays.build(path=path, weights="importance")
    path = npz(tmp_path, x=IMAGES, y=LABELS, weight=WEIGHTS, weights=WEIGHTS)
    with pytest.raises(RunError, match=r'could both be the weights of train\. Say which: weights = "…"'):
        arrays.build(path=path)


def test_the_images_are_listed_by_class_so_that_a_change_can_be_told(tmp_path):
    path = npz(tmp_path, x=IMAGES, y=np.array([5, -1, 7, 7, -1, 5]))
    assert arrays.build(path=path).listing() == {
        "5": [("d.npz[x][0]", 48), ("d.npz[x][5]", 48)],
        "7": [("d.npz[x][2]", 48), ("d.npz[x][3]", 48)],
    }
    assert arrays.build("unlabelled", path=path).listing() == {"": [("d.npz[x][1]", 48), ("d.npz[x][4]", 48)]}


WRONG = {
    "weights_of_another_length": (
        {"x": IMAGES, "y": LABELS, "weights": WEIGHTS[:5]},
        {},
        'd.npz[x] holds 6 images and d.npz[weights] 5 weights: as many of both are needed; weights = "" reads none',
    ),
    "weights_of_each_class": (
        {"x": IMAGES, "y": LABELS, "weights": np.ones((6, 2))},
        {},
        'd.npz[weights] has the shape (6, 2); weights are (images,); weights = "" reads none',
    ),
    "weights_that_are_text": (
        {"x": IMAGES, "y": LABELS, "weights": np.array(["1"] * 6)},
        {},
        "d.npz[weights] is <U1; weights are numbers: save weights.astype('float32'); weights = \"\" reads none",
    ),
    "a_float_without_a_range": (
        {"x": IMAGES / 255.0, "y": LABELS},
        {},
        "d.npz[x] is float64: say which numbers are black and white. The first 6 images hold 0 to 1; for numbers from "
        "0 to 1 write range = [0.0, 1.0]",
    ),
    "objects": (
        {"x": np.array([None] * 6), "y": LABELS},
        {},
        "d.npz[x] holds Python objects, which are never read: save it with one dtype, such as uint8",
    ),
    "labels_that_are_objects": (
        {"x": IMAGES, "y": np.array([None] * 6)},
        {},
        "d.npz[y] holds Python objects, which are never read: save numbers as int64, text as labels.astype(str)",
    ),
    "other_lengths": (
        {"x": IMAGES, "y": LABELS[:5]},
        {},
        "d.npz[x] holds 6 images and d.npz[y] 5 labels: as many of both are needed",
    ),
    "channels_first": (
        {"x": IMAGES.transpose(0, 3, 1, 2).repeat(2, 3), "y": LABELS},
        {},
        "d.npz[x] has the shape (6, 3, 4, 8); images are (images, height, width) or (images, height, width, channels) "
        "with 1 to 4 channels. Channels stand last: save images.transpose(0, 2, 3, 1)",
    ),
    "rows": (
        {"x": IMAGES.reshape(6, -1), "y": LABELS},
        {},
        "d.npz[x] has the shape (6, 48); images are (images, height, width) or (images, height, width, channels) with "
        "1 to 4 channels. Save it with its height and width: images.reshape(-1, height, width)",
    ),
    "one_hot_labels": (
        {"x": IMAGES, "y": np.eye(2)[LABELS]},
        {},
        "d.npz[y] has the shape (6, 2); labels are (images,). Of rows of one-hot shares save labels.argmax(1)",
    ),
    "labels_that_are_no_whole_numbers": (
        {"x": IMAGES, "y": LABELS + 0.0},
        {},
        "d.npz[y] is float64; labels are whole numbers or text: save labels.astype('int64')",
    ),
    "several": (
        {"x_train": IMAGES / 255.0, "y_train": LABELS, "x_test": IMAGES[0], "y_test": LABELS},
        {"range": [0, 1]},
        "d.npz[x_test] holds 4 images and d.npz[y_test] 6 labels: as many of both are needed",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_arrays_of_another_form_are_told(tmp_path, case):
    named, options, told = WRONG[case]
    with pytest.raises(RunError) as error:
        arrays.build(path=npz(tmp_path, **named), **options)
    assert str(error.value) == f"dataset.path: these arrays can't be used:\n  {told}"


def test_all_problems_are_told_at_once(tmp_path):
    with pytest.raises(RunError) as error:
        arrays.build(path=npz(tmp_path, x=IMAGES / 255.0, y=np.eye(2)[LABELS[:5]]))
    assert [line.split()[0] for line in str(error.value).splitlines()[1:]] == ["d.npz[x]", "d.npz[y]", "d.npz[x]"]


def test_labels_of_no_class_are_told(tmp_path):
    path = npz(tmp_path, x=IMAGES, y=np.array(["cat", "dgo", "dgo", "dog", "dog", "dog"]))
    with pytest.raises(RunError) as error:
        arrays.build(path=path, classes=["cat", "dog"])
    assert str(error.value) == (
        "dataset.path: these labels can't be used:\n  d.npz[y][1] and 1 more: the label 'dgo' is not among "
        "dataset.classes (cat, dog); did you mean 'dog'?"
    )
    with pytest.raises(RunError, match=r"two classes or more are needed\. Received: one: '0'"):
        arrays.build(path=npz(tmp_path, x=IMAGES, y=LABELS * 0))


def test_files_that_are_no_arrays_are_told(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"^dataset.path: .*nowhere.npz: there is no such file or folder$"):
        arrays.build(path=str(tmp_path / "nowhere.npz"))
    folder = npy(tmp_path, x=IMAGES, y=LABELS)
    with pytest.raises(RunError, match=r"two \.npy files\. Let dataset\.path be their folder.*images = \"x\""):
        arrays.build(path=f"{folder}/x.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:200])
    with pytest.raises(RunError, match=r"^dataset.path: x.npy can't be read: |^x.npy can't be read: "):
        arrays.build(path=folder)
    (tmp_path / "d.npz").write_bytes(b"PK nothing")
    with pytest.raises(RunError, match=r"^dataset.path: d.npz can't be read: "):
        arrays.build(path=str(tmp_path / "d.npz"))
    with pytest.raises(RunError, match=r"^dataset.range: the first number must be below the second"):
        arrays.build(path=npz(tmp_path, x=IMAGES, y=LABELS), range=[1, 0])
