"""Intervals of paired differences, and what a run could have seen: by hand, by brute force and by simulation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from kdrecipes.report import intervals
from kdrecipes.report.figures import compare, expected_calibration_error, losses
from kdrecipes.report.intervals import detectable, recall_over_images, share_over_images

CLASSES = 5


def network(random, labels, sharpness=1.0):
    right = 1.5 * np.eye(CLASSES)[labels]
    return (sharpness * (right + random.normal(size=right.shape))).astype(np.float32)


def sample(images, seed=0, **options):
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, images)
    return network(random, labels, **options), network(random, labels), labels


# --- what a run could have seen ---------------------------------------------------------------------------------------


def gains(*counts, images=100):
    """One array a seed: so many images that only the first is right on, and so many that only the second is."""
    return [np.repeat([1, -1, 0], [plus, minus, images - plus - minus]) for plus, minus in counts]


def test_over_images_it_is_what_a_hand_works_out():
    # Of 100 images 10 gain and 10 lose: a variance of 0.2. The normal quantiles are 1.959964 and 0.841621.
    assert detectable(gains((10, 10))) == pytest.approx((1.959964 + 0.841621) * np.sqrt(0.2) / 10, rel=1e-6)
    # 30 gain, none loses: a mean of 0.3 and a variance of 0.3 − 0.09.
    assert detectable(gains((30, 0))) == pytest.approx((1.959964 + 0.841621) * np.sqrt(0.21) / 10, rel=1e-6)


def test_over_seeds_it_is_what_a_hand_works_out():
    # Differences 0.1, 0.2, 0.3: a standard deviation of 0.1. For 2 degrees of freedom t(p) = (2p − 1) / √(2p(1 − p)).
    quantiles = 0.95 / np.sqrt(2 * 0.975 * 0.025) + 0.6 / np.sqrt(2 * 0.8 * 0.2)
    assert detectable(gains((10, 0), (25, 5), (30, 0))) == pytest.approx(quantiles * 0.1 / np.sqrt(3))


def test_two_seeds_have_none():
    assert detectable(gains((10, 0), (20, 0))) is None


def test_where_all_differ_alike_it_is_nothing():
    assert detectable(gains((0, 0))) == detectable(gains((100, 0))) == 0
    assert detectable(gains((7, 0), (10, 3), (27, 20))) == 0  # though 0.07 is no sum of halves


@pytest.mark.parametrize(("seeds", "power"), [(3, 0.766), (10, 0.799)])
def test_such_a_difference_is_seen_in_about_four_of_five_runs(seeds, power):
    """Runs with a true difference of that size at their true spread; `power`: by the noncentral t distribution."""
    random = np.random.default_rng(0)
    counts = np.arange(seeds) * 2
    size = detectable(gains(*((c, 0) for c in counts))) / (np.std(counts, ddof=1) / 100)  # in standard deviations
    lows = ttest_1samp(random.normal(size, 1, (20_000, seeds)), 0.0, axis=1).confidence_interval(0.95).low
    assert (lows > 0).mean() == pytest.approx(power, abs=0.01)


# --- loss and ECE over test images ------------------------------------------------------------------------------------


def test_a_mean_loss_has_the_interval_of_its_standard_error():
    first, second, labels = sample(2000)
    found = compare([first], [second], [0], labels)["test_loss"]
    difference = losses(first, labels) - losses(second, labels)
    assert found["mean"] == pytest.approx(difference.mean())
    error = difference.std() / np.sqrt(len(labels))
    assert found["ci95"] == pytest.approx(
        [found["mean"] - 1.96 * error, found["mean"] + 1.96 * error], abs=0.05 * error
    )


def test_resampled_ece_and_loss_are_those_of_the_resampled_images(monkeypatch):
    """Each draw by the plain functions, on the images that the same generator draws."""
    draws, images = 40, 60
    monkeypatch.setattr(intervals, "BOOTSTRAP_DRAWS", draws)
    first, second, labels = sample(images, sharpness=3.0)
    found = compare([first], [second], [0], labels)

    def ece(chosen):
        return np.subtract(*(expected_calibration_error(one[chosen], labels[chosen]) for one in (first, second)))

    def loss(chosen):
        return np.subtract(*(losses(one[chosen], labels[chosen]).mean() for one in (first, second)))

    resamples = np.random.default_rng(0).integers(0, images, (draws, images))
    low, high = np.percentile([loss(chosen) for chosen in resamples], [2.5, 97.5])
    assert found["test_loss"]["ci95"] == pytest.approx([low, high])
    low, high = np.percentile([ece(chosen) for chosen in resamples], [2.5, 97.5])
    all_of_them = ece(np.arange(images))
    assert found["ece"]["mean"] == pytest.approx(all_of_them)
    assert found["ece"]["ci95"] == pytest.approx([2 * all_of_them - high, 2 * all_of_them - low])


def test_resamples_are_drawn_in_chunks_and_the_chunks_change_nothing(monkeypatch):
    values = np.random.default_rng(1).normal(size=(70, 3))
    whole = intervals.resampled_sums(values)
    monkeypatch.setattr(intervals, "ENTRIES", 1)
    assert (intervals.resampled_sums(values) == whole).all()


@settings(max_examples=30, deadline=None)
@given(scale=st.integers(-300, 250), zeros=st.booleans())
def test_sums_are_exact_to_ten_digits_at_any_scale(scale, zeros):
    values = np.random.default_rng(2).normal(size=(7, 2)) * 10.0**scale
    values[:, 1] *= not zeros
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "BOOTSTRAP_DRAWS", 20)
        sums = intervals.resampled_sums(values)
    chosen = np.random.default_rng(0).integers(0, 7, (20, 7))
    assert np.abs(sums - values[chosen].sum(1)).max() <= 1e-10 * np.abs(values).max()


def test_the_interval_of_ece_holds_the_truth_where_percentiles_mostly_miss_it(monkeypatch):
    """A calibrated network and one whose confidence is too low; the truth: of 200,000 images."""
    monkeypatch.setattr(intervals, "BOOTSTRAP_DRAWS", 400)

    def drawn(images, seed):
        random = np.random.default_rng(seed)
        score = random.normal(1.5, 1.5, images)
        right = random.random(images) < 1 / (1 + np.exp(-np.abs(score)))
        logits = np.stack([np.abs(score), np.zeros(images)], 1)
        return 0.6 * logits, logits, np.where(right, 0, 1)

    first, second, labels = drawn(200_000, 1000)
    truth = expected_calibration_error(first, labels) - expected_calibration_error(second, labels)
    found = []
    for seed in range(60):
        first, second, labels = drawn(1000, seed)
        found.append(compare([first], [second], [0], labels)["ece"])
    held = np.mean([low <= truth <= high for low, high in (one["ci95"] for one in found)])
    percentiles = [[2 * one["mean"] - high, 2 * one["mean"] - low] for one in found for low, high in [one["ci95"]]]
    assert held > 0.75 > 0.6 > np.mean([low <= truth <= high for low, high in percentiles])


def test_networks_that_say_the_same_differ_by_nothing():
    first, _, labels = sample(50)
    found = compare([first], [first], [0], labels)
    assert found["test_loss"] == found["ece"] == {"mean": 0.0, "ci95": [0.0, 0.0]}
    assert found["ci95"] == [0.0, 0.0] and found["detectable"] == 0


def test_the_other_network_first_turns_every_sign():
    first, second, labels = sample(300, sharpness=2.0)
    one, other = compare([first], [second], [0], labels), compare([second], [first], [0], labels)
    for key in ("test_loss", "ece"):
        assert one[key]["mean"] == -other[key]["mean"]
        assert one[key]["ci95"] == pytest.approx([-v for v in reversed(other[key]["ci95"])])
    assert one["detectable"] == other["detectable"]


@pytest.mark.slow
def test_ten_thousand_draws_of_ten_thousand_images_take_seconds():
    first, second, labels = sample(10_000)
    before = time.process_time()
    compare([first], [second], [0], labels)
    assert time.process_time() - before < 30  # 1 s on one core; processor time, whatever else the machine does


PROGRAM = """
import json, numpy as np
from kdrecipes.report.figures import compare
random = np.random.default_rng(0)
labels = random.integers(0, 5, 3000)
networks = [(np.eye(5)[labels] + random.normal(size=(3000, 5))).astype(np.float32) for _ in range(2)]
print(json.dumps(compare(networks[:1], networks[1:], [0], labels)))
"""


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit():
    found = set()
    for threads in ("1", "3"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        environment["PYTHONPATH"] = str(Path(intervals.__file__).parents[2])
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


# --- over seeds -------------------------------------------------------------------------------------------------------


def test_loss_and_ece_of_three_seeds_have_t_intervals_over_seeds():
    seeds = [sample(200, seed, sharpness=2.0) for seed in range(3)]
    labels = seeds[0][2]
    firsts, seconds = [one for one, _, _ in seeds], [other for _, other, _ in seeds]
    found = compare(firsts, seconds, [0, 1, 2], labels)
    of = {
        "test_loss": lambda logits: losses(logits, labels).mean(),
        "ece": lambda logits: expected_calibration_error(logits, labels),
    }
    for key, measure in of.items():
        differences = [measure(a) - measure(b) for a, b in zip(firsts, seconds, strict=True)]
        half = 4.302652729911275 * np.std(differences, ddof=1) / np.sqrt(3)
        mean = np.mean(differences)
        assert found[key]["mean"] == pytest.approx(mean)
        assert found[key]["ci95"] == pytest.approx([mean - half, mean + half])


def test_loss_and_ece_of_two_seeds_have_no_interval():
    first, second, labels = sample(50)
    found = compare([first, second], [second, first], [0, 1], labels)
    assert found["test_loss"]["ci95"] is found["ece"]["ci95"] is found["detectable"] is None
    assert found["test_loss"]["mean"] == pytest.approx(0) and found["ece"]["mean"] == pytest.approx(0)


@given(st.integers(1, 400), st.data())
def test_an_interval_of_recall_holds_what_was_found_and_lies_within_all_there_is(images, data):
    first = data.draw(st.integers(0, images))
    second = data.draw(st.integers(0, images - first))
    low, high = recall_over_images(first, second, images)
    assert -1 <= low <= (first - second) / images <= high <= 1
    assert recall_over_images(second, first, images) == pytest.approx([-high, -low])
    assert low < high


@pytest.mark.parametrize(("images", "gain", "loss"), [(15, 0.1, 0.1), (30, 0.02, 0.02), (30, 0.2, 0.05), (100, 0.1, 0)])
def test_an_interval_of_recall_holds_the_truth_about_as_often_as_it_says(images, gain, loss):
    random = np.random.default_rng(1)
    counts = random.multinomial(images, [gain, loss, 1 - gain - loss], 4000)
    ends = np.array([recall_over_images(int(first), int(second), images) for first, second, _ in counts])
    held = (ends[:, 0] <= gain - loss) & (gain - loss <= ends[:, 1])
    assert held.mean() > 0.935


def test_wilsons_interval_of_a_share():
    assert share_over_images(0.9, 1000) == pytest.approx([0.8798, 0.9170], abs=1e-4)
    assert share_over_images(1.0, 10) == pytest.approx([0.7225, 1.0], abs=1e-4)
    assert share_over_images(0.0, 10) == pytest.approx([0.0, 0.2775], abs=1e-4)
