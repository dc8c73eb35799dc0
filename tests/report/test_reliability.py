"""How often a network is right when it is this sure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.report.drawing import ROLES
from kdrecipes.report.figures import expected_calibration_error
from kdrecipes.report.reliability import bins_of, reliability

SURE = np.log([[0.9, 0.1], [0.9, 0.1], [0.41, 0.59], [0.65, 0.35]]).astype(np.float32)


def test_bins_hold_images_their_confidence_and_the_share_that_is_right():
    bins = bins_of(SURE, np.array([0, 1, 1, 0]))
    assert list(np.flatnonzero(bins[:, 0])) == [8, 9, 13]
    assert bins[13] == pytest.approx([2, 0.9, 0.5])
    assert bins[8] == pytest.approx([1, 0.59, 1.0])


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 12))
def test_the_bins_add_up_to_the_calibration_error(seed, images, classes):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (images, classes)).astype(np.float32)
    labels = random.integers(0, classes, images)
    bins = bins_of(logits, labels)
    assert bins.shape == (15, 3) and bins[:, 0].sum() == images
    error = np.nansum(bins[:, 0] * np.abs(bins[:, 2] - bins[:, 1])) / images
    assert error == pytest.approx(expected_calibration_error(logits, labels))


def test_a_chart_says_how_far_off_a_network_is_and_in_which_direction():
    [chart] = reliability({"teacher": [], "kd": [SURE]}, np.array([0, 1, 1, 0]), ROLES)
    assert chart.name == "reliability_kd"
    assert chart.title == "Student, distilled: ECE 39.00 %"
    assert chart.note == "On the whole surer than it is right, by 1.00 points."
    assert chart.lines[-1] == ["86.7 to 93.3", "2", "90.0", "50.0"]
    [modest] = reliability({"kd": [SURE]}, np.array([0, 0, 1, 0]), ROLES)
    assert modest.note == "On the whole less sure than it is right, by 24.00 points."


def test_of_several_seeds_all_answers_are_counted_and_the_error_is_their_mean():
    labels = np.array([0, 1, 1, 0])
    [chart] = reliability({"kd": [SURE, -SURE]}, labels, ROLES)
    mean = 50 * (expected_calibration_error(SURE, labels) + expected_calibration_error(-SURE, labels))
    assert chart.title == f"Student, distilled: ECE {mean:.2f} %, mean of 2 seeds"
    assert sum(int(line[1]) for line in chart.lines) == 8


def test_the_diagram_has_a_bar_for_each_bin():
    [chart] = reliability({"kd": [SURE]}, np.array([0, 1, 1, 0]), ROLES)
    upper, lower = chart.draw().axes
    assert list(upper.get_lines()[1].get_ydata()) == [100, 100, 50]
    [hollow] = upper.get_lines()[2:]
    assert len(hollow.get_xdata()) == 3 and hollow.get_fillstyle() == "none"
    assert [bar.get_height() for bar in lower.patches if bar.get_height()] == [1, 1, 2]


@pytest.mark.parametrize("times", [1, 10, 100])
def test_the_diagram_is_the_larger_part_however_many_images_its_bins_have(times):
    [chart] = reliability({"kd": [np.tile(SURE, (times, 1))]}, np.tile([0, 1, 1, 0], times), ROLES)
    figure = chart.draw()
    figure.draw_without_rendering()
    upper, lower = (axes.get_position().height for axes in figure.axes)
    assert upper > 0.5 and upper == pytest.approx(4 * lower, rel=0.05)
