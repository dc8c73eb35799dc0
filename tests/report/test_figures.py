"""Figures and paired comparisons, against scikit-learn, SciPy, torch and values worked out by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from kdrecipes.report.figures import compare, expected_calibration_error, figures, macro_f1, mean_recall

GENERATOR = np.random.default_rng(5)
LABELS = GENERATOR.integers(0, 4, 200)
LOGITS = (GENERATOR.normal(size=(200, 4)) + 1.5 * np.eye(4)[LABELS]).astype(np.float32)


def with_right(right, classes=3):
    """Logits of a network that is right where `right` says so; all labels are 0."""
    logits = np.zeros((len(right), classes), np.float32)
    logits[np.arange(len(right)), np.where(right, 0, 1)] = 5
    return logits


def test_figures_agree_with_torch_and_scikit_learn():
    found = figures(LOGITS, LABELS, LOGITS[:, ::-1])
    assert found["test_accuracy"] == (LOGITS.argmax(1) == LABELS).mean()
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(LOGITS), torch.from_numpy(LABELS)).item()
    assert found["test_loss"] == pytest.approx(expected, rel=1e-6)
    assert found["macro_f1"] == pytest.approx(f1_score(LABELS, LOGITS.argmax(1), average="macro"))
    assert found["agreement"] == (LOGITS.argmax(1) == LOGITS[:, ::-1].argmax(1)).mean()
    assert "top5" not in found and "agreement" not in figures(LOGITS, LABELS)


def test_top5_is_given_from_twenty_classes_on():
    logits = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    labels = np.array([19, 15, 14, 0])
    assert figures(logits, labels)["top5"] == 0.5
    assert figures(logits, labels)["test_accuracy"] == 0.25


def test_ece_is_what_a_hand_works_out():
    # Two images at confidence 0.8 (one right), two at 0.6 (both right): (|0.5 − 0.8| + |1 − 0.6|) / 2.
    confident, doubtful = np.log([0.8, 0.2]), np.log([0.6, 0.4])
    logits = np.array([confident, confident, doubtful, doubtful], np.float32)
    assert expected_calibration_error(logits, np.array([0, 1, 0, 0])) == pytest.approx((0.3 + 0.4) / 2, abs=1e-6)


def test_a_confident_and_right_network_is_calibrated():
    assert expected_calibration_error(with_right(np.ones(10, bool)) * 100, np.zeros(10, int)) == pytest.approx(0)


def test_one_seed_bootstraps_test_images():
    a = np.array([True] * 80 + [False] * 20)
    b = np.array([True] * 70 + [False] * 20 + [True] * 10)
    found = compare([with_right(a)], [with_right(b)], [7], np.zeros(100, int))
    assert found["mean"] == pytest.approx(0.0)
    assert found["ci95_over"] == "test images" and found["seeds"] == 1
    low, high = found["ci95"]
    # The difference's standard error is sqrt(20 discordant pairs) / 100 images.
    assert low == pytest.approx(-1.96 * np.sqrt(20) / 100, abs=0.01) and high == pytest.approx(-low, abs=0.01)
    assert found["mcnemar"] == [{"seed": 7, "first": 10, "second": 10, "p": 1.0}]
    assert compare([with_right(a)], [with_right(b)], [7], np.zeros(100, int)) == found


def test_mcnemar_is_the_exact_binomial_test():
    a, b = np.ones(8, bool), np.array([False] * 6 + [True] * 2)
    found = compare([with_right(a)], [with_right(b)], [0], np.zeros(8, int))
    assert found["mcnemar"][0]["p"] == pytest.approx(2 * 0.5**6)
    same = compare([with_right(a)], [with_right(a)], [0], np.zeros(8, int))
    assert same["mcnemar"][0]["p"] == 1.0 and same["mean"] == 0


def test_two_seeds_have_no_interval():
    right = [np.array([True, True, False]), np.array([True, False, False])]
    found = compare([with_right(r) for r in right], [with_right(~r) for r in right], [0, 1], np.zeros(3, int))
    assert found["ci95"] is None and found["seeds"] == 2 and found["ci95_over"] == "seeds"


def test_three_seeds_have_a_t_interval_over_seeds():
    base = with_right(np.zeros(10, bool))
    firsts = [with_right(np.arange(10) < k) for k in (1, 2, 3)]  # differences 0.1, 0.2, 0.3
    found = compare(firsts, [base] * 3, [0, 1, 2], np.zeros(10, int))
    half = 4.302652729911275 * 0.1 / np.sqrt(3)
    assert found["mean"] == pytest.approx(0.2) and found["ci95"] == pytest.approx([0.2 - half, 0.2 + half])


def test_equal_differences_have_an_interval_of_no_width_and_no_warning(recwarn):
    firsts, base = [with_right(np.arange(10) < 5)] * 3, with_right(np.zeros(10, bool))
    found = compare(firsts, [base] * 3, [0, 1, 2], np.zeros(10, int))
    assert found["mean"] == 0.5 and found["ci95"] == [0.5, 0.5]
    assert not recwarn.list


def test_classes_that_never_occur_count_for_nothing(recwarn):
    """One of three images of class 4 is told as class 7, which does not occur; that of class 1 is told right."""
    guesses, labels = np.array([4, 4, 7, 1]), np.array([4, 4, 4, 1])
    logits = np.eye(10, dtype=np.float32)[guesses]
    assert mean_recall(logits, labels) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1(logits, labels) == pytest.approx((4 / 5 + 1) / 2)
    many = np.arange(40)  # as many classes as images
    assert macro_f1(np.eye(50, dtype=np.float32)[many], many) == mean_recall(np.eye(50)[many], many) == 1
    assert not recwarn.list
