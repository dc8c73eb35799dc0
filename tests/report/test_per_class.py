"""What distillation gave and took, class by class."""

from __future__ import annotations

import numpy as np
import pytest

from kdrecipes.report.per_class import chance_words, gains_of, per_class

NAMES = ["cat", "dog", "owl"]


def answers(named: list[int], classes: int = 3) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[named]


def of_sizes(count: int, seeds: int = 1):
    """`count` classes of two images each; class i gains or loses an image, or neither."""
    labels = np.repeat(np.arange(count), 2)
    wrong = (labels + 1) % count
    better = answers([w if i % 6 == 0 else x for i, (x, w) in enumerate(zip(labels, wrong, strict=True))], count)
    worse = answers([w if i % 6 == 3 else x for i, (x, w) in enumerate(zip(labels, wrong, strict=True))], count)
    return gains_of([better] * seeds, [worse] * seeds, labels, [f"class {i}" for i in range(count)])


def test_gains_are_differences_of_recall_the_largest_first():
    labels = np.array([0, 0, 1, 1, 1, 1])
    gains = gains_of([answers([0, 0, 1, 0, 0, 0])], [answers([0, 1, 1, 1, 0, 0])], labels, NAMES)
    assert [(g.name, g.images, g.baseline, g.kd, g.difference) for g in gains] == [
        ("cat", 2, 0.5, 1.0, 0.5),
        ("dog", 4, 0.5, 0.25, -0.25),
    ]


def test_a_class_without_test_images_has_no_gain():
    assert [g.name for g in gains_of([answers([1])], [answers([1])], np.array([1]), NAMES)] == ["dog"]


def test_one_seed_has_intervals_over_images_two_have_none_three_over_seeds():
    labels = np.zeros(40, dtype=int)
    students = [answers([0] * right + [1] * (40 - right)) for right in (30, 31, 35)]
    other = answers([0] * 20 + [1] * 20)
    assert gains_of(students[:1], [other], labels, NAMES)[0].ci95 == pytest.approx([0.0934, 0.3828], abs=1e-4)
    assert gains_of(students[:2], [other] * 2, labels, NAMES)[0].ci95 is None
    low, high = gains_of(students, [other] * 3, labels, NAMES)[0].ci95
    assert (low + high) / 2 == pytest.approx(0.3) and high - low == pytest.approx(2 * 4.302653 * 0.06614 / 3**0.5, 1e-3)


def test_seeds_that_gained_alike_have_an_interval_as_wide_as_images_are_few():
    labels = np.zeros(10, dtype=int)
    student, other = answers([0] * 10), answers([0] * 5 + [1] * 5)
    [gain] = gains_of([student] * 3, [other] * 3, labels, NAMES)
    assert gain.ci95 == pytest.approx([0.5 - 0.3085, 0.5 + 0.3085], abs=1e-4)


def test_up_to_thirty_classes_are_drawn_and_of_more_the_largest_gains_and_losses():
    thirty, more = per_class(of_sizes(30)), per_class(of_sizes(31))
    assert thirty is not None and more is not None
    assert len(thirty.draw().axes[0].get_yticks()) == 30 and "The first" not in thirty.note
    assert len(more.draw().axes[0].get_yticks()) == 30
    assert more.note.startswith("The first 15 and the last 15 of 31 classes by difference. ")
    assert len(more.lines) == 31


def test_of_very_many_classes_the_table_has_the_first_and_the_last():
    chart = per_class(of_sizes(600))
    assert chart is not None and len(chart.lines) == 500
    assert chart.lines[0][4] == "+50.00" and chart.lines[-1][4] == "−50.00"


def test_a_run_that_compares_nothing_has_no_chart_of_classes():
    assert per_class([]) is None and chance_words([]) == ""


def test_a_name_that_no_file_can_hold_is_drawn_all_the_same():
    names = ["$x_1$ \udcff\n\x00", "🐈" * 60, "c"]
    gains = gains_of([answers([0, 1])], [answers([0, 0])], np.array([0, 1]), names)
    chart = per_class(gains)
    assert chart is not None
    shown = [label.get_text() for label in chart.draw().axes[0].get_yticklabels()]
    assert shown == ["🐈" * 23 + "…", "$x_1$ \\xff  "]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (2, "one of these 2 misses in about every 10th report"),
        (5, "one of these 5 misses in about every fourth report"),
        (10, "one of these 10 misses in about every second report"),
        (20, "one of these 20 misses in about each report"),
        (101, "about 5 of these 101 miss in each report"),
        (1000, "about 50 of these 1,000 miss in each report"),
    ],
)
def test_the_words_say_how_many_intervals_miss_by_chance(count, words):
    assert words in chance_words(of_sizes(count))


def test_the_words_count_the_intervals_that_leave_out_0():
    labels = np.repeat([0, 1], 40)
    gains = gains_of([answers([0] * 40 + [1] * 40)], [answers([1] * 40 + [1] * 40)], labels, NAMES)
    assert chance_words(gains).startswith("1 of 2 intervals leave out 0.")


def test_dots_are_filled_where_the_interval_leaves_out_0():
    labels = np.repeat([0, 1], 40)
    chart = per_class(gains_of([answers([0] * 40 + [1] * 40)], [answers([1] * 40 + [1] * 40)], labels, NAMES))
    assert chart is not None
    dots = [line for line in chart.draw().axes[0].get_lines() if line.get_marker() == "o"]
    assert [dot.get_fillstyle() for dot in dots] == ["full", "none"]


def test_no_interval_reaches_beyond_all_there_is():
    labels = np.zeros(2, dtype=int)
    students = [answers(named) for named in ([0, 0], [1, 1], [0, 0])]
    [gain] = gains_of(students, [answers([1, 1])] * 3, labels, NAMES)
    assert gain.ci95 is not None and -1 <= gain.ci95[0] < gain.ci95[1] == 1
