"""From the recipe's `[dataset]` to three disjoint splits, and what it says when they can't be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import settings_of

from kdrecipes.components.datasets import digits
from kdrecipes.data import prepare as preparing
from kdrecipes.data.examples import show
from kdrecipes.data.prepare import Data, prepare
from kdrecipes.data.splits import held_out
from kdrecipes.disk.home import home
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.tables import Recipe

RECIPE = """
schema_version = 1
name = "r"
[dataset]
name = "digits"
{dataset}
[student]
name = "cnn"
[train]
epochs = 1
batch_size = 16
[train.optimizer]
name = "adamw"
learning_rate = 1e-3
"""


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def prepared(tmp_path):
    def prepared(dataset: str, *overrides: str, progress: Any = None) -> Data:
        return prepare(recipe(tmp_path, dataset, *overrides), progress)

    return prepared


def recipe(folder: Path, dataset: str, *overrides: str) -> Recipe:
    file = folder / "r.toml"
    file.write_text(RECIPE.format(dataset=dataset), encoding="utf-8")
    return load_recipe(file, overrides)


def stored() -> list[str]:
    folder = home() / "stores"
    return [path.name for path in folder.iterdir() if path.name != ".locks"] if folder.exists() else []


# --- what is prepared -------------------------------------------------------------------------------------------------


def test_a_share_of_train_is_held_out(prepared):
    data = prepared("validation = 0.15")
    train, test = digits.build("train"), digits.build("test")
    assert len(data.train) + len(data.validation) == 1437 and len(data.test) == 360
    assert abs(len(data.validation) / 1437 - 0.15) < 0.03
    both = np.sort(np.concatenate([data.train.positions, data.validation.positions]))
    assert both.tolist() == list(range(1437))
    assert data.train.store is data.validation.store is not data.test.store
    assert np.array_equal(data.validation.labels, train.labels[data.validation.index])
    assert np.array_equal(data.test.store.images, np.repeat(test.images, 3, -1))
    assert data.classes == [str(digit) for digit in range(10)]
    assert (data.student_size, data.converted, data.skipped) == (8, 0, [])


def test_splits_are_cut_as_the_recipe_says(prepared):
    data = prepared('train = "train[:90%]"\nvalidation = "train[90%:]"\ntest = "test[-60:]"\nimage_size = 12')
    assert data.train.positions.tolist() == list(range(1293))
    assert data.validation.positions.tolist() == list(range(1293, 1437))
    assert data.test.positions.tolist() == list(range(300, 360))
    assert data.student_size == 12 and data.train.store.images.shape[1] == 8


def test_what_is_held_out_does_not_depend_on_the_slice(prepared):
    whole, half = prepared("validation = 0.2"), prepared('validation = 0.2\ntrain = "train[50%:]"')
    assert set(half.validation.index) == {i for i in whole.validation.index if i >= 718}
    assert set(half.train.index) == {i for i in whole.train.index if i >= 718}


def test_progress_names_the_splits(prepared):
    steps: list[tuple] = []
    prepared("validation = 0.1", progress=lambda *step: steps.append(step))
    size = 8 * 8 * 3
    assert steps[0] == ("digits train", 0, 1437, 1437 * size, 0)
    assert steps[-1] == ("digits test", 360, 360, 360 * size, 0)
    steps.clear()
    prepared("validation = 0.1", progress=lambda *step: steps.append(step))
    assert steps == []  # opened, not built


def test_the_fingerprint_follows_the_pixels_and_the_splits(prepared):
    texts = [
        "validation = 0.1",
        "validation = 0.2",
        'validation = 0.1\ntest = "test[:300]"',
        "validation = 0.1\nstore_size = 4",
    ]
    prints = [prepared(text).fingerprint for text in texts]
    assert len(set(prints)) == 4 and prepared(texts[0]).fingerprint == prints[0]


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(prepared, dataset: str, *overrides: str, error: type[Exception] = RunError) -> str:
    with pytest.raises(error) as caught:
        prepared(dataset, *overrides)
    return str(caught.value)


def test_a_missing_validation_split_suggests_a_share_before_anything_is_decoded(prepared):
    assert refused(prepared, "") == (
        "dataset.validation = 'validation': the dataset has no split 'validation'; it has 'train', 'test'. "
        "`validation = 0.1` holds a tenth of train out for validation"
    )
    assert stored() == []


def test_a_missing_split_is_told_with_those_that_are_there(prepared):
    text = refused(prepared, 'validation = 0.1\ntest = "tset[:10]"')
    assert text == "dataset.test = 'tset[:10]': the dataset has no split 'tset'; it has 'train', 'test'"


@pytest.mark.parametrize(
    "dataset, said",
    [
        (
            'train = "train[:90%]"\nvalidation = "train[-200:]"',
            "dataset.train = 'train[:90%]' and dataset.validation = 'train[-200:]' share 56 images",
        ),
        (
            'validation = "train[:10]"\ntrain = "train[10:]"\ntest = "train[:-1433]"',
            "dataset.validation = 'train[:10]' and dataset.test = 'train[:-1433]' share 4 images",
        ),
        (
            'train = "train[100:]"\nvalidation = 0.1\ntest = "train[:7%]"',
            "dataset.train = 'train[100:]' and dataset.test = 'train[:7%]' share 1 images",
        ),
    ],
)
def test_splits_that_overlap_are_named_with_the_count(prepared, dataset, said):
    assert refused(prepared, dataset) == f"{said}; splits must not overlap."


def test_an_empty_slice_is_named(prepared):
    text = refused(prepared, 'validation = 0.1\ntest = "test[360:]"')
    assert text == "dataset.test = 'test[360:]' holds no image: 'test' has 360."


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_share_that_leaves_a_split_empty_is_named(prepared, share):
    text = refused(prepared, f'validation = {share}\ntrain = "train[:20]"')
    assert text == f"dataset.validation = {share:g} of 20 training images leaves a split empty."


def test_a_batch_larger_than_train_is_named(prepared):
    text = refused(prepared, 'validation = "train[15:]"\ntrain = "train[:1%]"')
    assert text.startswith("dataset.train holds 14 images, fewer than one batch of train.batch_size = 16")
    assert len(prepared('validation = "train[16:]"\ntrain = "train[:16]"').train) == 16


# --- other people's datasets ------------------------------------------------------------------------------------------

STRANGE = """
import numpy as np
from kdrecipes import Component, hookimpl
from kdrecipes.errors import EnvironmentProblem

class Source:
    classes, fingerprint = ["a", "b", "c"], "f"
    def __len__(self): return 40
    def __getitem__(self, i): return {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 2}

def build(split, how):
    source = Source()
    if how == "raises":
        raise LookupError("no\\n such  thing")
    if how == "silent":
        raise AssertionError
    if how == "length":
        source.__class__ = type("Broken", (Source,), {"__len__": lambda self: 1 // 0})
    if how == "offline":
        raise EnvironmentProblem("the server is gone")
    if how == "classes" and split == "test":
        source.classes = ["a", "c", "b"]
    if how == "more" and split == "test":
        source.classes = ["a", "b", "c", "d"]
    return source

@hookimpl
def kdrecipes_components():
    yield Component(kind="dataset", name="strange", build=build, summary="s", options={
        "type": "object", "additionalProperties": False, "properties": {
            "split": {"type": "string", "description": "d"}, "how": {"type": "string", "description": "d"}}})
"""


@pytest.fixture
def strange(prepared, install):
    install("kdrecipes-strange", STRANGE)
    return lambda how, **kinds: refused(prepared, f'how = "{how}"\nvalidation = 0.2', 'dataset.name="strange"', **kinds)


@pytest.mark.parametrize(
    "how, said",
    [
        ("raises", "LookupError: no such thing"),
        ("silent", "AssertionError"),
        ("length", "ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_a_strange_error_names_the_component_and_its_provider(strange, how, said):
    assert strange(how) == f"dataset.train = 'train': the dataset 'strange' (kdrecipes-strange 1.0) failed: {said}"


def test_an_error_meant_for_people_keeps_its_kind(strange):
    assert strange("offline", error=EnvironmentProblem) == "dataset.train = 'train': the server is gone"


def test_other_classes_are_named(strange):
    start = "dataset.test has other classes than dataset.train"
    assert strange("classes") == f"{start} (3 and 3): label 1 is 'c' there and 'b' in train."
    assert strange("more") == f"{start} (4 and 3): label 3 is 'd' there and None in train."


def test_another_version_of_a_plugin_has_another_store(prepared, install):
    site = install("kdrecipes-strange", STRANGE)
    prepared('how = "fine"\nvalidation = 0.2', 'dataset.name="strange"')
    before = stored()
    metadata = site / "kdrecipes_strange-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    from kdrecipes.components.registry import load_registry

    load_registry.cache_clear()
    prepared('how = "fine"\nvalidation = 0.2', 'dataset.name="strange"')
    assert len(before) == 2 and len(stored()) == 4


# --- folders ----------------------------------------------------------------------------------------------------------


def pets(root: Path, **counts: dict[str, int]) -> None:
    for split, kinds in counts.items():
        for kind, count in kinds.items():
            (root / split / kind).mkdir(parents=True)
            for number in range(count):
                size = (6 + number % 3, 7)
                Image.new("RGB", size, (number, 0, 0)).save(root / split / kind / f"{number}.png")


def test_a_folder_of_images_is_prepared(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3, "dog": 2})
    data = prepared('path = "pets"\nvalidation = 0.2\nimage_size = 5', 'dataset.name="folder"')
    assert (len(data.train) + len(data.validation), len(data.test)) == (40, 5)
    assert data.classes == ["cat", "dog"] and data.train.store.images.shape[1:] == (5, 5, 3)
    assert sorted(data.test.labels.tolist()) == [0, 0, 0, 1, 1]


def test_a_folder_with_another_class_in_test_is_refused(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3, "eel": 2})
    text = refused(prepared, 'path = "pets"\nvalidation = 0.2\nimage_size = 5', 'dataset.name="folder"')
    assert text.startswith("dataset.test = 'test': ") and text.endswith("holds classes that train does not have: eel")


def test_images_of_several_sizes_need_an_image_size(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3})
    text = refused(prepared, 'path = "pets"\nvalidation = 0.2', 'dataset.name="folder"')
    assert text.startswith("dataset.train = 'train': folder train: the images do not share one square size")


def test_a_damaged_file_is_named_and_can_be_allowed_for(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3})
    (tmp_path / "pets" / "train" / "dog" / "7.png").write_bytes(b"no picture")
    dataset = 'path = "pets"\nvalidation = 0.2\nimage_size = 5'
    text = refused(prepared, dataset, 'dataset.name="folder"')
    assert text == (
        "dataset.train = 'train': folder train: 1 of 40 images can't be read, a share of 0.025; "
        "dataset.corrupt_limit = 0.0 is a share too and allows 0 of 40.\n"
        "  train/dog/7.png: no image that Pillow knows, whatever its suffix\n"
        "Mend or remove these files. To train without them, write under [dataset]:\n"
        "corrupt_limit = 0.025"
    )
    data = prepared(dataset, 'dataset.name="folder"', f"dataset.{text.splitlines()[-1]}")
    assert data.skipped == ["train/dog/7.png"] and len(data.train) + len(data.validation) == 39


def test_unreadable_files_of_all_splits_are_named_at_once(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3, "dog": 3})
    for file in ("train/cat/1.png", "train/dog/2.png", "test/cat/0.png"):
        (tmp_path / "pets" / file).write_bytes(b"")
    dataset = 'path = "pets"\nvalidation = 0.2\nimage_size = 5'
    text = refused(prepared, dataset, 'dataset.name="folder"')
    assert "folder train: 2 of 40" in text and "dataset.test = 'test': folder test: 1 of 6" in text
    assert all(f"  {file}: the file is empty\n" in text for file in ("train/cat/1.png", "test/cat/0.png"))
    data = prepared(dataset, 'dataset.name="folder"', f"dataset.{text.splitlines()[-1]}")
    assert sorted(data.skipped) == ["test/cat/0.png", "train/cat/1.png", "train/dog/2.png"]


def test_a_class_without_a_readable_image_is_an_error_within_the_limit_too(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 4}, test={"cat": 3, "dog": 3})
    for number in range(4):
        (tmp_path / "pets" / "train" / "dog" / f"{number}.png").write_bytes(b"")
    dataset = 'path = "pets"\nvalidation = 0.2\nimage_size = 5\ncorrupt_limit = 1'
    text = refused(prepared, dataset, 'dataset.name="folder"')
    assert "dataset.corrupt_limit = 1.0 is a share too and allows 24 of 24." in text
    assert "\n  not one of the 4 images of the class dog can be read\n" in text
    assert text.endswith("A class without an image can't be learned or tested. Mend its files, or remove its folder.")


def test_a_split_whose_labels_are_not_read_may_lose_any_of_them(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3}, more={"cat": 5, "dog": 1})
    (tmp_path / "pets" / "more" / "dog" / "0.png").write_bytes(b"")
    dataset = f'path = "pets"\nvalidation = 0.2\nimage_size = 5\nunlabelled = "more"\n{TAUGHT}'
    data = prepared(dataset, 'dataset.name="folder"', "dataset.corrupt_limit=0.2")
    assert data.skipped == ["more/dog/0.png"] and len(data.unlabelled[0]) == 5


def test_what_a_folder_leaves_out_is_told_by_split_and_reason(tmp_path, prepared):
    pets(tmp_path / "pets", train={"cat": 20, "dog": 20}, test={"cat": 3})
    (tmp_path / "pets" / "train" / "cat" / "a.heic").write_bytes(b"x")
    (tmp_path / "pets" / "test" / "Thumbs.db").write_bytes(b"x")
    data = prepared('path = "pets"\nvalidation = 0.2\nimage_size = 5', 'dataset.name="folder"')
    assert data.left_out == {
        "folder train": {"with the suffix .heic, which is not read": ["train/cat/a.heic"]},
        "folder test": {"hidden or the system's": ["test/Thumbs.db"]},
    }


# --- sizes of the roles -----------------------------------------------------------------------------------------------


def test_each_role_has_its_size():
    def sizes(*overrides):
        data = prepare(load_recipe("digits", overrides))
        return data.student_size, data.teacher_sizes["cnn"], data.train.store.images.shape[1]

    assert sizes() == (8, 8, 8)
    assert sizes("teacher.image_size=16") == (8, 16, 8)
    assert sizes("dataset.image_size=12", "student.image_size=10") == (10, 12, 8)


# --- images without labels --------------------------------------------------------------------------------------------

TAUGHT = "[teacher]\nname = 'cnn'\n[loss]\nname = 'kd'"


def test_some_labels_are_kept_and_the_rest_of_train_has_none(prepared):
    data = prepared(f"validation = 0.15\nlabelled = 60\n{TAUGHT}")
    [rest] = data.unlabelled
    whole = prepared("validation = 0.15")
    both = np.sort(np.concatenate([data.train.positions, rest.positions]))
    assert np.array_equal(both, whole.train.positions) and data.images == len(whole.train)
    assert np.bincount(data.train.labels).tolist() == [6, 7, 6, 6, 6, 5, 6, 6, 6, 6]
    assert set(rest.labels) == {-1} and not rest.labelled and data.train.labelled
    assert np.array_equal(data.validation.positions, whole.validation.positions)
    assert data.fingerprint != whole.fingerprint


def test_the_recipes_seed_alone_draws_the_labels(prepared):
    few = f"validation = 0.15\nlabelled = 60\n{TAUGHT}"
    first = prepared(few).train.positions
    assert np.array_equal(prepared(few, "compare.seeds=[1,2]", "train.epochs=3").train.positions, first)
    assert not np.array_equal(prepared(few, "seed=1").train.positions, first)


def test_a_share_of_the_labels_is_a_count(prepared):
    assert len(prepared(f"validation = 0.15\nlabelled = 0.05\n{TAUGHT}").train) == round(0.05 * 1210)


def test_all_labels_leave_no_image_without(prepared):
    assert prepared(f"train = 'train[:100]'\nvalidation = 'train[100:200]'\nlabelled = 100\n{TAUGHT}").unlabelled == ()


def test_another_split_and_the_rest_of_train_go_together(prepared):
    text = (
        f"train = 'train[:400]'\nvalidation = 'train[400:500]'\nunlabelled = 'train[500:900]'\nlabelled = 50\n{TAUGHT}"
    )
    data = prepared(text)
    assert [len(part) for part in data.unlabelled] == [350, 400] and len(data.train) == 50
    assert data.unlabelled[1].positions.tolist() == list(range(500, 900)) and set(data.unlabelled[1].labels) == {-1}


def test_both_arms_take_the_same_number_of_steps(tmp_path):
    asked = recipe(tmp_path, f"validation = 0.15\nlabelled = 60\n{TAUGHT}")
    data = prepare(asked)
    taught, alone = data.mixture(asked, taught=True), data.mixture(asked, taught=False)
    assert (taught.labelled, taught.unlabelled, taught.steps) == (4, 12, 1150 // 12)
    assert (alone.labelled, alone.unlabelled, alone.steps) == (16, 0, taught.steps)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes with labels, one more class in the folder of unlabelled images, as they lie on a disk."""
    random = np.random.default_rng(0)
    for place in ("train/cat", "train/dog", "test/cat", "test/dog", "pool"):
        (tmp_path / "photos" / place).mkdir(parents=True)
        for i in range(12):
            image = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            image.save(tmp_path / "photos" / place / f"{i}.png")
    return tmp_path


def test_a_folder_of_images_without_classes_is_taught_without_labels(photos):
    file = photos / "r.toml"
    text = RECIPE.replace('"digits"', '"folder"\npath = "photos"').replace("batch_size = 16", "batch_size = 8")
    file.write_text(text.format(dataset=f"validation = 0.3\nunlabelled = 'pool'\n{TAUGHT}"), encoding="utf-8")
    data = prepare(load_recipe(file))
    assert [len(part) for part in data.unlabelled] == [12] and set(data.unlabelled[0].labels) == {-1}
    assert data.classes == ["cat", "dog"]


def test_no_label_of_the_unlabelled_split_is_read(prepared, monkeypatch):
    class Hidden(dict):
        """An example whose label nobody may ask for."""

        def __getitem__(self, key):
            assert key != "label", "the label of an image without labels was read"
            return super().__getitem__(key)

    class Source:
        def __init__(self):
            self.classes = [str(digit) for digit in range(10)]

        def __len__(self):
            return 30

        def __getitem__(self, i):
            return Hidden(image=np.full((8, 8, 1), i, np.uint8))

    build = preparing.build_source
    monkeypatch.setattr(
        preparing, "build_source", lambda recipe, name, key: Source() if name == "pool" else build(recipe, name, key)
    )
    data = prepared(f"validation = 0.15\nunlabelled = 'pool'\n{TAUGHT}")
    assert [len(part) for part in data.unlabelled] == [30]
    assert set(data.unlabelled[0].store.labels) == {-1}


def source_of(labels, classes):
    """A source of 60 images, whose labels are what `labels` gives for an index."""

    class Example(dict):
        def __getitem__(self, key):
            return labels(super().__getitem__("index")) if key == "label" else super().__getitem__(key)

    class Source:
        def __init__(self):
            self.classes = classes

        def __len__(self):
            return 60

        def __getitem__(self, i):
            return Example(image=np.full((8, 8, 1), i, np.uint8), index=i)

    return Source()


def test_an_unlabelled_split_may_know_of_other_classes(prepared, monkeypatch):
    build = preparing.build_source
    other = source_of(lambda i: 7, ["nobody", "knows"])
    monkeypatch.setattr(
        preparing, "build_source", lambda r, name, key: other if name == "pool" else build(r, name, key)
    )
    data = prepared(f"validation = 0.15\nunlabelled = 'pool'\n{TAUGHT}")
    assert data.unlabelled[0].store.classes == data.classes
    mixed = settings_of({"mixup": 0.3})
    assert show(data.unlabelled[0], np.arange(4), 8, mixed)[1].shape == (4, 10)


def unknown(i):
    if i >= 40:
        raise KeyError("nobody knows")
    return "?" if i >= 30 else -1 if i >= 20 else i % 2


def test_a_slice_without_labels_may_say_anything_of_them(prepared, monkeypatch):
    partly = source_of(unknown, ["a", "b"])
    monkeypatch.setattr(preparing, "build_source", lambda recipe, name, key: partly)
    splits = "validation = 'train[:4]'\ntest = 'train[4:8]'\nunlabelled = 'train[20:]'"
    data = prepared(f"train = 'train[8:20]'\n{splits}\n{TAUGHT}", "train.batch_size=4")
    assert data.train.labels.tolist() == [i % 2 for i in range(8, 20)] and set(data.unlabelled[0].labels) == {-1}
    message = r"dataset.train = 'train\[9:25\]': 5 of 16 images have no label. Images without labels belong in"
    with pytest.raises(RunError, match=message):
        splits = splits.replace("20:", "25:")
        prepared(f"train = 'train[9:25]'\n{splits}\n{TAUGHT}", "train.batch_size=4")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("labelled = 1234567", "dataset.labelled = 1234567 is more than"),
        ("labelled = 5000", "dataset.labelled = 5000 is more than the 1210 images that train holds."),
        ("labelled = 9", "dataset.labelled = 9: train has 10 classes, each of which needs one label at least."),
        ("labelled = 0.001", "dataset.labelled = 0.001 of 1210 images is 1, and train has 10 classes"),
        (
            "train = 'train[:-500]'\nunlabelled = 'train[500:900]'",
            "and dataset.unlabelled = 'train[500:900]' share 336",
        ),
        ("test = 'test[:50%]'\nunlabelled = 'test[10:20]'", "and dataset.unlabelled = 'test[10:20]' share 10 images"),
        ("unlabelled = 'pool'", "dataset.unlabelled = 'pool': the dataset has no split 'pool'; it has 'train', 'test'"),
        ("train = 'train[:90%]'\nunlabelled = 'train[9000:]'", "dataset.unlabelled = 'train[9000:]' holds no image"),
    ],
)
def test_what_can_not_be_without_labels_is_one_message(prepared, dataset, message):
    with pytest.raises(RunError) as caught:
        prepared(f"validation = 0.15\n{dataset}\n{TAUGHT}")
    assert message in str(caught.value)


def test_unlabelled_images_that_are_held_out_for_validation_are_refused(prepared):
    with pytest.raises(
        RunError, match=r"dataset.validation = 'train\[90%:\]' and dataset.unlabelled = 'train\[-200:\]'"
    ):
        text = f"train = 'train[:50%]'\nvalidation = 'train[90%:]'\nunlabelled = 'train[-200:]'\n{TAUGHT}"
        prepared(text)


def test_drawings_that_the_background_swallows_are_told(tmp_path):
    """Black drawings on a transparent ground are seen on white, which is the default, and lost on black."""
    for split, number in (("train", 20), ("test", 4)):
        for name in ("bar", "square"):
            (tmp_path / "icons" / split / name).mkdir(parents=True)
            for i in range(number):
                image = np.zeros((8, 8, 4), np.uint8)
                image[i % 5 :, : 3 + i // 5, 3] = 255
                Image.fromarray(image).save(tmp_path / "icons" / split / name / f"{i}.png")
    table = 'name = "folder"\npath = "icons"\nvalidation = 0.2'
    (tmp_path / "r.toml").write_text(RECIPE.replace('name = "digits"\n', "").format(dataset=table), encoding="utf-8")
    white = prepare(load_recipe(tmp_path / "r.toml"))
    assert (
        "background" not in " ".join(white.warnings) and white.train.store.images.max() == 255 and white.converted == 48
    )
    black = prepare(load_recipe(tmp_path / "r.toml", ['dataset.background="#000000"']))
    assert black.train.store.images.max() == 0 and "".join(black.warnings).count("dataset.background") == 2
    assert black.warnings[0].startswith(
        "40 of the 40 images of train have transparent pixels and show nothing but one colour on dataset.background = "
        "'#000000': train/"
    )
    assert black.warnings[0].endswith(" and 37 more. Choose another background, on which their drawings can be seen.")


def test_an_image_beyond_max_pixels_names_the_key_and_a_greater_one_lets_it_in(tmp_path):
    for split, number in (("train", 20), ("test", 4)):
        for name in ("a", "b"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(number):
                Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(tmp_path / "photos" / split / name / f"{i}.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "photos" / "train" / "a" / "large.png")
    table = 'name = "folder"\npath = "photos"\nvalidation = 0.2\nimage_size = 8'
    (tmp_path / "r.toml").write_text(RECIPE.replace('name = "digits"\n', "").format(dataset=table), encoding="utf-8")
    with pytest.raises(
        RunError, match=r"train/a/large.png.*40×30 pixels are more than dataset.max_pixels = 1199 allows"
    ):
        prepare(load_recipe(tmp_path / "r.toml", ["dataset.max_pixels=1199"]))
    skipping = prepare(load_recipe(tmp_path / "r.toml", ["dataset.max_pixels=1199", "dataset.corrupt_limit=0.1"]))
    assert skipping.skipped == ["train/a/large.png"]
    folder = Path(skipping.train.store.images.filename).parent
    made = folder.stat().st_ino
    prepare(load_recipe(tmp_path / "r.toml", ["dataset.max_pixels=1199", "dataset.corrupt_limit=0.1"]))
    assert folder.stat().st_ino == made, "the store is not built again for an image that this limit leaves out"
    assert prepare(load_recipe(tmp_path / "r.toml", ["dataset.corrupt_limit=0.1"])).skipped == []


class Few:
    """So many images of each class, each another grey; "test" has the last class only."""

    fingerprint = "few"

    def __init__(self, classes: int, images: int, split: str):
        self.classes = [f"c{label}" for label in range(classes)]
        self.labels = [
            label for label in range(classes) for _ in range(images) if split != "test" or label == classes - 1
        ]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": np.full((8, 8, 3), i % 256, np.uint8), "label": self.labels[i]}


def test_a_share_that_takes_the_last_training_image_of_a_class_is_refused(prepared, monkeypatch):
    monkeypatch.setattr(preparing, "build_source", lambda recipe, name, key: Few(100, 2, name))
    with pytest.raises(RunError) as caught:
        prepared("validation = 0.3")
    train = held_out(np.arange(200), 0.3).reshape(100, 2)
    emptied = np.flatnonzero(train.all(1))
    assert str(caught.value) == (
        f"dataset.validation = 0.3 leaves {len(emptied)} of 100 classes without a training image: c{emptied[0]}, "
        f"c{emptied[1]}, c{emptied[2]} and {len(emptied) - 3} more. Hold out a smaller share, let "
        "dataset.validation name a split of its own, or draw the share class by class: dataset.stratified = true"
    )


def counts_by_class(data: Data) -> list[np.ndarray]:
    return [np.bincount(split.labels, minlength=len(data.classes)) for split in (data.train, data.validation)]


def test_a_share_drawn_class_by_class_empties_none(prepared, monkeypatch):
    monkeypatch.setattr(preparing, "build_source", lambda recipe, name, key: Few(100, 2, name))
    data = prepared("validation = 0.3\nstratified = true")
    assert [set(counts) for counts in counts_by_class(data)] == [{1}, {1}]
    assert data.warnings[1] == (
        "dataset.validation = 0.3 of 200 training images is 60; drawn class by class it is 100, one image of each "
        "class that has two."
    )
    assert data.fingerprint != prepared("validation = 0.05").fingerprint


def test_an_only_image_of_a_class_is_trained_on_and_told(prepared, monkeypatch):
    def source(recipe: Recipe, name: str, key: str) -> Few:
        few = Few(4, 20, name)
        few.labels = [label for i, label in enumerate(few.labels) if label != 2 or i % 20 == 0]
        return few

    monkeypatch.setattr(preparing, "build_source", source)
    data = prepared("validation = 0.1\nstratified = true")
    assert [counts.tolist() for counts in counts_by_class(data)] == [[18, 18, 1, 18], [2, 2, 0, 2]]
    assert data.warnings[0] == (
        "1 of the 4 classes have no validation image: c2. What the validation figures say is not about them."
    )


@pytest.mark.parametrize("labelled", ["", f"labelled = 40\n{TAUGHT}", f"labelled = 0.5\n{TAUGHT}"])
def test_a_share_drawn_class_by_class_keeps_the_classes_shares(prepared, labelled):
    data = prepared(f"validation = 0.15\nstratified = true\n{labelled}")
    whole = np.bincount(digits.build("train").labels)
    validation = np.bincount(data.validation.labels)
    assert len(data.validation) == round(0.15 * 1437) and (np.abs(validation - 0.15 * whole) < 1).all()
    assert data.images == 1437 - len(data.validation)
    assert not set(data.validation.index) & {i for split in (data.train, *data.unlabelled) for i in split.index}


def test_classes_that_nobody_measures_are_told(prepared, monkeypatch):
    monkeypatch.setattr(preparing, "build_source", lambda recipe, name, key: Few(10, 6, name))
    data = prepared("validation = 0.1")
    unseen = [name for label, name in enumerate(data.classes) if label not in data.validation.labels]
    assert unseen and data.warnings[:2] == (
        f"{len(unseen)} of the 10 classes have no validation image: {', '.join(unseen[:3])}"
        + (f" and {len(unseen) - 3} more" if len(unseen) > 3 else "")
        + ". What the validation figures say is not about them. To hold the share out class by class: "
        "dataset.stratified = true",
        "9 of the 10 classes have no test image: c0, c1, c2 and 6 more. What the test figures say is not about them.",
    )


class Painted:
    """Images by their greys, each under its label."""

    fingerprint, classes = "painted", ["a", "b"]

    def __init__(self, greys: list[int], labels: list[int]):
        self.greys, self.labels = greys, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": np.full((8, 8, 3), self.greys[i], np.uint8), "label": self.labels[i]}

    def name_of(self, i: int) -> str:
        return f"{self.greys[i]}-{i}.png"


def test_images_of_two_splits_or_under_two_labels_are_told(prepared, monkeypatch):
    """5 and 6 are learnt and measured; 6 stands under both labels, and so does 9."""
    sources = {
        "train": Painted([*range(20), 9], [0, 1] * 10 + [0]),
        "validation": Painted([30, 31, 6], [0, 1, 0]),
        "test": Painted([40, 41, 5, 6, 31], [0, 1, 1, 1, 1]),
    }
    monkeypatch.setattr(preparing, "build_source", lambda recipe, name, key: sources[name])
    for _ in range(2):  # the second time by the hashes that were kept
        data = prepared("")
        assert data.warnings == ()
        assert tuple(one.text for one in data.identical) == (
            "1 of the 3 validation images is pixel for pixel the same as training images: 6-2.png (as 6-6.png). What "
            "is measured on them is memory, not skill.",
            "2 of the 5 test images are pixel for pixel the same as training images: 5-2.png (as 5-5.png), 6-3.png "
            "(as 6-6.png). What is "
            "measured on them is memory, not skill.",
            "2 of the 5 test images are pixel for pixel the same as validation images: 6-3.png (as 6-2.png), 31-4.png "
            "(as 31-1.png). What is "
            "measured on them is memory, not skill.",
            "5 of the 29 train, validation and test images are there under another label too: 6-6.png, 9-9.png, "
            "9-20.png and 2 more. No network can be right about both labels.",
        )
    kept = list((home() / "stores").glob("*/rows.npy"))
    assert len(kept) == 3
    kept[0].write_bytes(b"damaged")
    assert len(prepared("").identical) == 4


def test_images_taught_without_labels_count_as_training_images(prepared, monkeypatch):
    sources = {"train": Painted(list(range(20)), [0, 1] * 10), "test": Painted([40, 41], [0, 1])}
    sources |= {"validation": Painted([30, 31], [0, 1]), "others": Painted([50, 41], [0, 0])}
    monkeypatch.setattr(preparing, "build_source", lambda recipe, name, key: sources[name])
    taught = ['teacher.name="cnn"', 'loss.name="kd"', 'dataset.unlabelled="others"']
    (found,) = prepared("", *taught).identical
    assert found.text.startswith(
        "1 of the 2 test images is pixel for pixel the same as training images: 41-1.png (as 41-1.png)."
    )


ARRAYS = 'name = "arrays"\npath = "d.npz"\ntest = "train[36:]"\ntrain = "train[:36]"\nvalidation = 0.2'


@pytest.fixture
def weighed(tmp_path):
    """`weighed(weights)`: what is prepared of 48 images, of which the last 12 are the test."""

    def weighed(weights: np.ndarray) -> Data:
        images = np.random.default_rng(0).integers(0, 256, (48, 8, 8), np.uint8)
        np.savez(tmp_path / "d.npz", x=images, y=np.arange(48) % 2, weights=weights)
        file = tmp_path / "r.toml"
        file.write_text(RECIPE.replace('name = "digits"\n{dataset}', ARRAYS), encoding="utf-8")
        return prepare(load_recipe(file))

    return weighed


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (
            np.zeros(48),
            r"^dataset.train: each of its \d\d images has the weight 0, so none would teach anything\.",
        ),
        (np.full(48, -1), r"48 of its 48 weights can't be used: .*the weight -1 is no finite number of 0 or more"),
        (np.full(48, np.nan), "the weight nan is no finite number of 0 or more.* and 43 more weights"),
    ],
)
def test_weights_that_would_teach_nothing_are_refused(weighed, weights, told):
    with pytest.raises(RunError, match=told):
        weighed(weights)


def test_weights_of_zero_do_not_matter_where_nothing_is_trained(weighed):
    assert weighed((np.arange(48) < 36) * 1.0).train.weighted
