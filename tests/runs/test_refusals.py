"""What a run refuses, and what it says of a component that fails: before training where that can be known."""

import hashlib
import json

import pytest
from samples import small

import kdrecipes
from kdrecipes.errors import RecipeError, RunError


def test_single_file_plugin_is_recorded_with_its_sha256(tmp_path, loud, interrupted):
    lock = interrupted(loud('loss={name="late"}'), tmp_path / "run")
    (digest,) = lock["origin"]["files"].values()
    assert digest.removeprefix("sha256:") == hashlib.sha256((tmp_path / "loud.py").read_bytes()).hexdigest()


def test_teacher_batch_larger_than_train_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"fewer than one batch of teacher\.train\.batch_size = 319"):
        kdrecipes.run(small("teacher.train.batch_size=319"), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"teacher\.train\.batch_size  must be at most 320: "):
        small("teacher.train.batch_size=321")  # dataset.train = "train[:320]" tells


def test_non_finite_loss_stops_the_run_and_keeps_nothing_of_the_epoch(tmp_path):
    recipe = small('train.optimizer={name="sgd", learning_rate=1e30}', 'teacher.train.optimizer={name="adamw"}')
    with pytest.raises(RunError, match=r"baseline-0: the loss is (nan|inf).*learning_rate"):
        kdrecipes.run(recipe, tmp_path / "run")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["status"] == "failed" and "baseline-0" in status["error"]
    assert not (tmp_path / "run" / "state" / "last").exists()


def test_unknown_layer_names_the_nearest_and_the_place(tmp_path):
    recipe = small('loss={name="hint", student_layers=["stage1b_rel"], teacher_layers=["stage1b_relu"]}')
    with pytest.raises(RunError, match=r"loss.*no layer 'stage1b_rel'. Did you mean 'stage1b_relu'"):
        kdrecipes.run(recipe, tmp_path / "run")


UNSAVEABLE = """
import kdrecipes

def build(classes, image_size):
    import keras

    class Odd(keras.layers.Layer):
        def call(self, x):
            return x + 1

    pixels = keras.Input((image_size, image_size, 3))
    x = keras.layers.GlobalAveragePooling2D()(Odd()(pixels))
    return keras.Model(pixels, keras.layers.Dense(classes)(x), name="odd")

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="odd", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""


def test_student_that_cannot_be_loaded_again_is_refused_before_training(tmp_path):
    (tmp_path / "odd.py").write_text(UNSAVEABLE)
    recipe = small('student={name="odd"}', plugins=[tmp_path / "odd.py"])
    with pytest.raises(RunError, match=r"student: .odd. can.t be saved and loaded again .*register_keras_serializable"):
        kdrecipes.run(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "history.jsonl").exists() is False


LOUD = """
import kdrecipes

def thousand(classes, image_size):
    import keras

    pixels = keras.Input((image_size, image_size, 3))
    return keras.Model(pixels, keras.layers.Dense(1000)(keras.layers.Flatten()(pixels)))

class Late:
    calls = 0

    def __call__(self, labels, student, teacher):
        self.calls += 1
        if self.calls > 2:
            raise KeyError("late")
        return (student.logits - teacher.logits).square().mean(-1)

@kdrecipes.hookimpl
def kdrecipes_components():
    passed = {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}
    yield kdrecipes.Component(kind="model", name="thousand", build=thousand, options={
        "type": "object", "additionalProperties": False, "properties": passed})
    yield kdrecipes.Component(kind="loss", name="late", build=Late)
"""


@pytest.fixture
def loud(tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    return lambda *more: small(*more, plugins=[tmp_path / "loud.py"])


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_wrong_class_count_is_told_before_anything_trains(tmp_path, loud, role):
    with pytest.raises(RunError, match=rf"{role}: 'thousand' has 1000 outputs and the dataset 10 classes"):
        kdrecipes.run(loud(f'{role}={{name="thousand"}}'), tmp_path / "run")
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_whatever_a_plugin_raises_is_one_line_and_its_traceback_is_in_the_log(tmp_path, loud):
    with pytest.raises(RunError, match=r"The run stopped: KeyError: 'late'. The traceback is in .*log.txt"):
        kdrecipes.run(loud('loss={name="late"}'), tmp_path / "run")
    assert 'raise KeyError("late")' in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / "students" / "baseline-0.keras").is_file()


LAMBDA = """
import kdrecipes

def build(classes, image_size):
    import keras
    pixels = keras.Input((image_size, image_size, 3))
    halved = keras.layers.Lambda(lambda x: x / 2)(pixels)
    return keras.Model(pixels, keras.layers.Dense(classes)(keras.layers.Flatten()(halved)))

def unbuilt(classes, image_size):
    import keras
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(classes)])

def fails(classes, image_size):
    return {}["no such key"]

@kdrecipes.hookimpl
def kdrecipes_components():
    properties = {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}
    options = {"type": "object", "additionalProperties": False, "properties": properties}
    for name, builder in (("halves", build), ("unbuilt", unbuilt), ("fails", fails)):
        yield kdrecipes.Component(kind="model", name=name, build=builder, options=options)
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("halves", r"student: '\w+' has a Lambda layer, which no file can hold safely"),
        ("unbuilt", r"student: 'unbuilt' is not built: begin it with keras\.Input"),
    ],
)
def test_networks_of_plugins_that_cannot_serve_are_refused_in_words_for_their_author(name, text, tmp_path):
    (tmp_path / "nets.py").write_text(LAMBDA)
    with pytest.raises(RunError, match=text):
        kdrecipes.run(small(f'student={{name="{name}"}}', plugins=[tmp_path / "nets.py"]), tmp_path / "run")


def test_the_log_has_the_traceback_of_a_plugin_that_fails(tmp_path):
    (tmp_path / "nets.py").write_text(LAMBDA)
    with pytest.raises(RunError, match=r"'fails' .* could not be built: KeyError: 'no such key'"):
        kdrecipes.run(small('student={name="fails"}', plugins=[tmp_path / "nets.py"]), tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Traceback" in log and 'return {}["no such key"]' in log
