"""What a teacher must pass before it teaches."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from samples import short, small

import kdrecipes
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.report.figures import accuracy
from kdrecipes.report.table import summary_text
from kdrecipes.runs import preflight as checks
from kdrecipes.runs.permutation import Permutation
from kdrecipes.runs.preflight import Findings, preflight, too_few
from kdrecipes.runs.teacher import Teacher


def saying(classes):
    """float32 (images, 10): logits that name these classes."""
    return 5 * np.eye(10, dtype=np.float32)[classes]


def test_weak_teacher_is_stopped_before_any_student_trains(tmp_path):
    recipe = small('teacher.train.optimizer={name="sgd", learning_rate=1e-12}')
    with pytest.raises(RunError, match=r"did not pass its preflight: its mean recall on .*warn"):
        kdrecipes.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "students").exists()


@pytest.mark.slow
def test_preflight_warn_goes_on_and_says_so_in_the_report(tmp_path):
    recipe = small(
        'teacher.train.optimizer={name="sgd", learning_rate=1e-12}', 'teacher.preflight="warn"', "train.epochs=1"
    )
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert len(report["warnings"]) == 1 and "its mean recall on" in report["warnings"][0]
    assert "Warning: teacher preflight" in summary_text(report)


class Says:
    """A stand-in model that gives fixed logits."""

    def __init__(self, logits):
        self.logits = logits


@pytest.fixture
def judged(monkeypatch):
    data = prepare(small())
    monkeypatch.setattr(checks, "predict", lambda model, split, size, **_: model.logits[: len(split)])

    def judge(logits, *more, **tuned):
        return preflight(Teacher(Says(logits), ""), data, 8, *more, **tuned)

    return judge, data.validation.labels


def test_preflight_passes_a_good_teacher(judged):
    judge, labels = judged
    assert judge(saying(labels)) == Findings()


def test_saying_always_the_same_is_no_better_than_a_teacher_of_skewed_data(monkeypatch):
    """Nine of ten images are of one class. On pixels of another range the teacher says that class of every image."""
    data = prepare(small())
    part = data.validation
    labels = np.where(np.arange(len(part.store)) % 10, 0, 1 + np.arange(len(part.store)) // 10 % 9)
    data = replace(data, validation=replace(part, store=replace(part.store, labels=labels)))
    guess = np.where(np.arange(len(part)) % 4, data.validation.labels, 9)  # three of four right

    def says(model, split, size, *, scale=1.0, offset=0.0):
        said = guess[: len(split)] if scale == 1 else np.zeros(len(split), int)
        return 5 * np.eye(10, dtype=np.float32)[said]

    monkeypatch.setattr(checks, "predict", says)
    assert accuracy(says(None, part, 8, scale=0.1), data.validation.labels) > 0.8
    assert preflight(Teacher(Says(None), ""), data, 8) == Findings()


def test_preflight_finds_logits_that_are_not_finite(judged):
    judge, labels = judged
    logits = 5 * np.eye(10, dtype=np.float32)[labels]
    logits[3, 4] = np.nan
    assert judge(logits).problems[0].startswith("1 of ")


def test_preflight_tells_probabilities_from_logits(judged):
    judge, labels = judged
    probabilities = np.full((len(labels), 10), 0.05, np.float32)
    probabilities[np.arange(len(labels)), labels] = 0.55
    said = ["its outputs are probabilities, not logits; build it without its softmax"]
    assert judge(probabilities).problems == said


def test_preflight_wants_two_standard_errors_above_a_constant_answer(judged):
    """A guess names each of ten classes with probability 1/10: of n images of a class its recall varies by 0.09 / n."""
    judge, labels = judged
    counts = np.bincount(labels)
    least = 0.1 + 2 * np.sqrt((0.09 / counts).sum()) / 10
    guess = (labels + 1 + np.arange(len(labels)) % 8) % 10  # never right, and in no order
    passed = {True: 0, False: 0}
    for image in range(len(labels)):
        guess[image] = labels[image]
        passes = bool(np.mean([(guess[labels == c] == c).mean() for c in range(10)]) >= least)
        passed[passes] += 1
        assert (judge(saying(guess)).problems == []) is passes
    assert min(passed.values()) > 3


def test_always_naming_the_most_frequent_class_does_not_pass(monkeypatch):
    data = prepare(small())
    part = data.validation
    labels = np.where(np.arange(len(part.store)) % 10, 0, 1 + np.arange(len(part.store)) // 10 % 9)
    data = replace(data, validation=replace(part, store=replace(part.store, labels=labels)))
    monkeypatch.setattr(checks, "predict", lambda model, split, size, **_: saying(np.zeros(len(split), int)))
    assert accuracy(saying(np.zeros(len(part), int)), data.validation.labels) > 0.8
    (problem,) = preflight(Teacher(Says(None), ""), data, 8).problems
    assert "always naming the same class" in problem


def test_a_teacher_that_knows_nothing_is_told_what_the_recipe_lacks(judged):
    judge, labels = judged
    constant = saying(np.zeros(len(labels), int))
    assert judge(constant).problems[0].endswith("trained for these classes? [teacher.train] fine-tunes it")
    tuned = judge(constant, tuned="teacher[1].train").problems[0]
    assert tuned.endswith(
        "[teacher[1].train] fine-tuned it, and did not teach it: more epochs, or another learning rate, may"
    )


def test_another_order_of_the_classes_is_named_class_by_class_with_the_line_that_mends_it(judged):
    judge, labels = judged
    order = np.array([0, 1, 8, 9, 2, 3, 4, 5, 6, 7])  # ten classes, sorted as texts with two missing, say
    (problem,) = judge(saying(order[labels])).problems
    count = (labels == 2).sum()
    assert f'"2" comes out as "8" ({count} of {count} images)' in problem and '"0" comes out' not in problem
    assert '["0", "1", "4", "5", "6", "7", "8", "9", "2", "3"]' in problem


def test_the_line_that_mends_an_order_starts_from_the_order_that_the_recipe_gives(judged):
    """The recipe's order put the outputs into a wrong one: the line says what the file's outputs are."""
    judge, labels = judged
    given = list("1234567890")  # output 0 is said to be "1"; in truth it is "0": every class comes out one too high
    (problem,) = judge(saying((labels + 1) % 10), given).problems
    assert '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]' in problem


def test_two_classes_that_are_swapped_are_advice(judged):
    judge, labels = judged
    swapped = np.arange(10)
    swapped[[3, 4]] = 4, 3
    found = judge(saying(swapped[labels]))
    assert found.problems == [] and len(found.advice) == 1
    assert '"3" comes out as "4"' in found.advice[0] and '"2", "4", "3", "5"' in found.advice[0]


@pytest.mark.slow
def test_two_swapped_classes_let_a_run_go_on_and_stand_in_its_report(tmp_path, monkeypatch, capsys):
    found = Permutation(np.array([1, 0, *range(2, 10)]), np.eye(10, dtype=int))
    monkeypatch.setattr(checks, "find_permutation", lambda said, labels, classes: found)
    report = kdrecipes.run(short(), tmp_path / "run")
    assert [text for text in report["warnings"] if "takes two classes for each other" in text]
    assert "Warning: teacher preflight: it takes two" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([2], "validation has 2 images of 1 class, too few"),
        ([1, 1], "validation has 2 images of 2 classes, too few"),
        ([7, 8], "Give dataset.validation 16 or more"),
        ([8, 8], ""),
    ],
)
def test_what_validation_images_can_judge_is_said_before_training(counts, said):
    """Of two classes, 8 images each: 0.5 + 2·√(2·0.25/8)/2 = 0.75, half-way between a constant answer and 1."""
    labels = np.repeat(np.arange(len(counts)), counts)
    text = too_few(SimpleNamespace(validation=SimpleNamespace(labels=labels), classes=["cat", "dog"]))
    assert said in text and bool(text) == bool(said)


@pytest.mark.slow
def test_a_run_with_too_few_validation_images_is_told_so_before_training_and_goes_on(tmp_path):
    report = kdrecipes.run(short('dataset.validation="test[:1]"', 'dataset.test="test[1:]"'), tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.index("validation has 1 image of 1 class, too few") < log.index("epoch 1/1")
    assert any("too few to judge a teacher by" in text for text in report["warnings"])
