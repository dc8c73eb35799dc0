"""What a teacher must pass before it teaches."""

from dataclasses import replace

import numpy as np
import pytest
from samples import small

import kdrecipes
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.report.figures import accuracy
from kdrecipes.report.table import summary_text
from kdrecipes.runs import preflight as checks
from kdrecipes.runs.preflight import preflight
from kdrecipes.runs.teacher import Teacher


def test_weak_teacher_is_stopped_before_any_student_trains(tmp_path):
    recipe = small('teacher.train.optimizer={name="sgd", learning_rate=1e-12}')
    with pytest.raises(RunError, match=r"did not pass its preflight: its validation accuracy is .*warn"):
        kdrecipes.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "students").exists()


def test_preflight_warn_goes_on_and_says_so_in_the_report(tmp_path):
    recipe = small(
        'teacher.train.optimizer={name="sgd", learning_rate=1e-12}', 'teacher.preflight="warn"', "train.epochs=1"
    )
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert len(report["warnings"]) == 1 and "validation accuracy" in report["warnings"][0]
    assert "Warning: teacher preflight" in summary_text(report)


class Says:
    """A stand-in model that gives fixed logits."""

    def __init__(self, logits):
        self.logits = logits


@pytest.fixture
def judged(monkeypatch):
    data = prepare(small())
    monkeypatch.setattr(checks, "predict", lambda model, split, size, **_: model.logits[: len(split)])
    return lambda logits: preflight(Teacher(Says(logits), ""), data, 8), data.validation.labels


def test_preflight_passes_a_good_teacher(judged):
    judge, labels = judged
    assert judge(5 * np.eye(10, dtype=np.float32)[labels]) == []


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
    assert preflight(Teacher(Says(None), ""), data, 8) == []


def test_preflight_finds_logits_that_are_not_finite(judged):
    judge, labels = judged
    logits = 5 * np.eye(10, dtype=np.float32)[labels]
    logits[3, 4] = np.nan
    assert judge(logits)[0].startswith("1 of ")


def test_preflight_tells_probabilities_from_logits(judged):
    judge, labels = judged
    probabilities = np.full((len(labels), 10), 0.05, np.float32)
    probabilities[np.arange(len(labels)), labels] = 0.55
    assert judge(probabilities) == ["its outputs are probabilities, not logits; build it without its softmax"]


def test_preflight_wants_two_standard_errors_above_chance(judged):
    judge, labels = judged
    n = len(labels)
    least = int(np.ceil(n * (0.1 + 2 * np.sqrt(0.09 / n))))
    for right, passes in ((least, True), (least - 1, False)):
        guess = np.where(np.arange(n) < right, labels, (labels + 1) % 10)
        assert (judge(5 * np.eye(10, dtype=np.float32)[guess]) == []) is passes
