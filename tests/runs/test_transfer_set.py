"""A transfer set: images without labels, which a teacher teaches on."""

import numpy as np
import pytest
from PIL import Image

import kdrecipes
from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.datasets import digits, folder
from kdrecipes.errors import RecipeError, RunError


@pytest.fixture
def pictures(tmp_path, home):
    """digits as files: train without labels, validation and test by class, and a network as teacher."""
    source = digits.build("train")
    for i in range(240):
        split = "train" if i < 160 else "validation" if i < 200 else "test"
        place = tmp_path / "pictures" / split / ("" if split == "train" else str(source.labels[i]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.images[i][..., 0]).save(place / f"{i}.png")
    seed_everything(0)
    inputs = keras.Input((8, 8, 3))
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs)))
    keras.Model(inputs, logits).save(tmp_path / "teacher.keras")
    return tmp_path


def recipe(where, *more):
    text = """
        schema_version = 1
        name = "transfer"
        [dataset]
        name = "folder"
        path = "pictures"
        [dataset.views]
        mixup = 0.2
        [teacher]
        name = "keras_file"
        path = "teacher.keras"
        preflight = "warn"
        [student]
        name = "cnn"
        width = 8
        [loss]
        name = "kd"
        label_weight = 0
        [train]
        epochs = 2
        batch_size = 32
        [compare]
        baseline = false
    """
    (where / "transfer.toml").write_text(text)
    return kdrecipes.load_recipe(where / "transfer.toml", more)


def test_a_folder_of_images_beside_splits_of_classes_has_no_labels(pictures):
    train = folder.build("train", path=str(pictures / "pictures"))
    test = folder.build("test", path=str(pictures / "pictures"))
    assert len(train) == 160 and not train.labelled and test.labelled
    assert train.classes == test.classes == [str(digit) for digit in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_a_student_is_taught_on_images_without_labels(pictures, cache):
    """It comes to agree with a teacher that knows nothing: so no label was used."""
    more = ["train.epochs=30", 'train.optimizer={name="adamw", learning_rate=0.02}', f'teacher.cache="{cache}"']
    report = kdrecipes.run(recipe(pictures, *more), pictures / "run")
    [arm] = report["arms"]
    assert arm["agreement"] > 0.5 and arm["arm"] == "kd"
    assert "agreement" not in report["teachers"][0] and report["teachers"][0]["test_accuracy"] < 0.4
    assert np.isfinite(arm["test_loss"])


NEEDS_LABELS = [
    "loss.label_weight=0.5", "compare.baseline=true", "dataset.validation=0.1", "teacher.train.epochs=1",
    'train.class_weight="balanced"',
]  # fmt: skip


def test_what_needs_labels_is_refused_all_at_once(pictures, monkeypatch):
    monkeypatch.delattr(folder.build, "labelled")  # a dataset that tells only once its source is built
    with pytest.raises(RunError) as caught:
        kdrecipes.run(recipe(pictures, *NEEDS_LABELS), pictures / "run")
    assert str(caught.value) == (
        "dataset.train = 'train' has no labels. That needs dataset.validation names a split that has labels, "
        "loss.label_weight = 0, compare.baseline = false, no [teacher.train], no train.class_weight."
    )


def test_what_needs_labels_is_no_valid_recipe_where_the_dataset_tells(pictures):
    with pytest.raises(RecipeError) as caught:
        recipe(pictures, *NEEDS_LABELS)
    rule = 'dataset.train = "train" has no labels; that needs '
    assert [(problem.path, problem.rule.removeprefix(rule)) for problem in caught.value.problems] == [
        ("dataset.validation", "dataset.validation names a split that has labels"),
        ("loss.label_weight", "loss.label_weight = 0"),
        ("compare.baseline", "compare.baseline = false"),
        ("teacher.train", "no [teacher.train]"),
        ("train.class_weight", "no train.class_weight"),
    ]
    assert {problem.code for problem in caught.value.problems} == {"nothing-to-learn"}


@pytest.mark.parametrize("key", ["labelled=10", 'unlabelled="train[:10]"'])
def test_a_train_without_labels_has_none_to_keep(pictures, key):
    with pytest.raises(RecipeError, match=r"dataset\.train = .+ has no labels; that needs no dataset\."):
        recipe(pictures, 'dataset.train="train[10:]"', f"dataset.{key}")


def test_images_without_labels_measure_nothing(pictures, monkeypatch):
    changes = ('dataset.train="validation"', "dataset.validation=0.2", 'dataset.test="train"')
    with pytest.raises(RecipeError, match=r"dataset\.test  has no labels to measure by\. Received: \"train\""):
        recipe(pictures, *changes)
    monkeypatch.delattr(folder.build, "labelled")
    with pytest.raises(RunError, match=r"dataset\.test = 'train' has no labels to measure by"):
        kdrecipes.run(recipe(pictures, *changes), pictures / "run")


def test_data_that_are_not_there_are_no_mistake_of_a_recipe(pictures):
    (pictures / "pictures").rename(pictures / "elsewhere")
    assert recipe(pictures, "loss.label_weight=0.5").loss.label_weight == 0.5
