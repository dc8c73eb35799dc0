"""`teacher.class_names`: a teacher whose outputs stand in another order teaches as if they stood in the dataset's."""

import json

import numpy as np
import pytest
from samples import student_arrays

import kdrecipes
from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.datasets import digits
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.runs.build import build_model
from kdrecipes.runs.dry_run import dry_run

ORDER = [3, 0, 9, 1, 2, 4, 8, 5, 7, 6]  # output number i of the other teacher is the digit ORDER[i]
NAMES = json.dumps([str(digit) for digit in ORDER])


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A folder with right.keras, a teacher that knows digits, and other.keras: the same, its outputs in that order."""
    folder = tmp_path_factory.mktemp("teachers")
    source = digits.build("train")
    seed_everything(0)
    pixels = keras.Input((8, 8, 3))
    head = keras.layers.Dense(10)
    model = keras.Model(pixels, head(keras.layers.Flatten(name="flat")(keras.layers.Rescaling(1 / 16)(pixels))))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(np.repeat(source.images, 3, -1).astype(np.float32), source.labels, epochs=8, verbose=0)
    model.save(folder / "right.keras")
    kernel, bias = head.get_weights()
    head.set_weights([kernel[:, ORDER], bias[ORDER]])
    model.save(folder / "other.keras")
    return folder


def recipe_of(folder, file, *more):
    (folder / "recipe.toml").write_text(f"""
        schema_version = 1
        name = "order"
        [dataset]
        name = "digits"
        train = "train[:160]"
        validation = "train[160:400]"
        test = "test[:80]"
        [teacher]
        name = "keras_file"
        path = "{file}.keras"
        [student]
        name = "cnn"
        width = 2
        [loss]
        name = "kd"
        [report]
        measure = false
        [train]
        epochs = 1
        batch_size = 40
    """)
    return kdrecipes.load_recipe(folder / "recipe.toml", more)


@pytest.mark.slow
def test_a_teacher_of_another_order_is_refused_and_the_line_in_the_message_mends_it(teachers, tmp_path):
    with pytest.raises(RunError, match="its outputs stand in another order") as caught:
        kdrecipes.run(recipe_of(teachers, "other"), tmp_path / "run")
    line = str(caught.value).split("what its outputs are: ")[1].split("]")[0] + "]"
    assert json.loads(line.removeprefix("class_names = ")) == json.loads(NAMES)
    report = kdrecipes.run(recipe_of(teachers, "other", f"teacher.{line}"), tmp_path / "mended")
    assert report["teachers"][0]["test_accuracy"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_students_learn_bit_for_bit_what_a_teacher_in_the_datasets_order_teaches(teachers, tmp_path, cache):
    """Through kept and through live outputs."""
    more = [f'teacher.cache="{cache}"']
    reports = [
        kdrecipes.run(recipe_of(teachers, "right", *more), tmp_path / "right"),
        kdrecipes.run(recipe_of(teachers, "other", f"teacher.class_names={NAMES}", *more), tmp_path / "other"),
    ]
    assert len({one["teachers"][0]["test_accuracy"] for one in reports}) == 1
    pairs = zip(student_arrays(tmp_path / "right", "kd-0"), student_arrays(tmp_path / "other", "kd-0"), strict=True)
    for right, other in pairs:
        np.testing.assert_allclose(other, right, atol=1e-5)


@pytest.mark.slow
def test_kept_outputs_of_one_order_are_not_taken_for_another(teachers, tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    more = ['teacher.preflight="warn"', "train.epochs=1"]
    kdrecipes.run(recipe_of(teachers, "other", *more), tmp_path / "one")
    report = kdrecipes.run(recipe_of(teachers, "other", f"teacher.class_names={NAMES}", *more), tmp_path / "two")
    log = (tmp_path / "two" / "log.txt").read_text()
    assert "taken from an earlier run" not in log and report["teachers"][0]["test_accuracy"] > 0.8


@pytest.mark.slow
def test_several_teachers_each_have_their_order(teachers, tmp_path):
    one, other = ('{name="keras_file", id="a", path="right.keras"}', 'name="keras_file", id="b", path="other.keras"')
    both = f"teacher=[{one}, {{{other}, class_names={NAMES}}}]"
    report = kdrecipes.run(recipe_of(teachers, "right", both), tmp_path / "run")
    assert min(report["ensemble"]["test_accuracy"], *(one["test_accuracy"] for one in report["teachers"])) > 0.8


@pytest.mark.slow
def test_fine_tuning_begins_from_the_given_order(teachers, tmp_path):
    more = ['teacher.train={epochs=1, optimizer={name="sgd", learning_rate=1e-9}}', f"teacher.class_names={NAMES}"]
    report = kdrecipes.run(recipe_of(teachers, "other", *more), tmp_path / "run")
    assert report["teachers"][0]["test_accuracy"] > 0.8 and not report["warnings"]


def test_layers_keep_their_names_and_the_head_its_own_learning_rate(teachers):
    recipe = recipe_of(teachers, "other", f"teacher.class_names={NAMES}")
    from kdrecipes.training.features import find_layer
    from kdrecipes.training.optimizer import head_of

    model = build_model(recipe, recipe.teachers["keras_file"], prepare(recipe))
    assert find_layer(model, "flat").name == "flat"
    assert [tuple(variable.shape) for variable in head_of(model)] == [(192, 10), (10,)]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["0", "1", "2", "3", "4", "5", "6", "7", "8", "nine"], 'not among them: "nine"; missing: "9"'),
        (["0", "1"], 'missing: "2", "3", "4", "5", "6", "7", "8", "9"'),
    ],
)
def test_names_that_are_not_the_datasets_are_told_before_anything_trains(teachers, tmp_path, names, said):
    recipe = recipe_of(teachers, "other", f"teacher.class_names={json.dumps(names)}")
    with pytest.raises(
        RunError, match=r"teacher\.class_names: must name each of the dataset's 10 classes once"
    ) as error:
        kdrecipes.run(recipe, tmp_path / "run")
    assert said in str(error.value)


def test_a_misspelt_name_brings_the_nearest(teachers):
    from types import SimpleNamespace

    from kdrecipes.runs.class_order import given_order

    with pytest.raises(RunError, match=r'"caat" \(did you mean "cat"\?\)'):
        given_order(SimpleNamespace(class_names=("caat", "dog"), place="teacher"), ["cat", "dog"])


def test_a_softmax_is_found_behind_the_order(teachers, tmp_path):
    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(pixels)))
    model.save(teachers / "soft.keras")
    with pytest.raises(RunError, match="softmax"):
        kdrecipes.run(recipe_of(teachers, "soft", f"teacher.class_names={NAMES}"), tmp_path / "run")


def test_a_dry_run_without_the_data_takes_the_names_that_the_teacher_gives(teachers):
    assert (
        dry_run(recipe_of(teachers, "other", f"teacher.class_names={NAMES}", "dataset.image_size=8"), classes=10) == 10
    )


def test_the_fingerprint_of_a_recipe_without_the_key_has_nothing_of_it(teachers):
    recipe = recipe_of(teachers, "other")
    assert "class_names" not in recipe.data["teacher"]
    assert recipe.fingerprint != recipe_of(teachers, "other", f"teacher.class_names={NAMES}").fingerprint
