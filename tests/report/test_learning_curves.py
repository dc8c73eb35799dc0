"""The charts over epochs."""

from __future__ import annotations

from typing import Any

import pytest

from kdrecipes.report.learning_curves import curves, labels_part, learning_curves, mean_of, points_of, terms_of


def rows(epochs: int = 3, seeds: int = 1, **more: float) -> list[dict[str, Any]]:
    one = {"accuracy": 0.5, "label_loss": 1.0, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 2.0, "seconds": 1.0}
    students = [
        {"arm": arm, "seed": seed, "epoch": epoch, "steps": 9, **one, **(more if arm == "kd" else {})}
        for seed in range(seeds)
        for arm in ("kd", "baseline")
        for epoch in range(1, epochs + 1)
    ]
    return [*students, {"arm": "teacher", "seed": 0, "epoch": 1, **one}]


def test_each_distillation_term_has_a_chart_of_its_own():
    found = {chart.name: chart for chart in learning_curves(rows(kd=3.0, hint=4.0, gradient_kd=9.0))}
    assert list(found) == ["validation_accuracy", "validation_loss", "label_loss", "term_kd", "term_hint"]
    assert found["term_hint"].title == "Distillation term hint"
    assert found["term_hint"].roles == ["kd"]
    assert found["validation_loss"].roles == ["teacher", "baseline", "kd"]


def test_the_name_of_a_term_is_made_fit_for_a_file():
    names = [chart.name for chart in learning_curves(rows(**{"../my term": 3.0}))]
    assert names[-1] == "term____my_term"


def test_the_whole_loss_has_a_chart_only_where_it_is_none_of_its_parts():
    assert "whole_loss" not in [chart.name for chart in learning_curves(rows(kd=3.0, loss=3.0))]
    assert "whole_loss" in [chart.name for chart in learning_curves(rows(kd=3.0, loss=2.5))]


def test_what_is_no_figure_of_a_loss_is_no_term():
    assert terms_of(rows(gradient_kd=1.0, gradient_label_loss=1.0)) == []


def test_the_label_loss_of_a_distilled_student_is_never_its_whole_loss():
    assert labels_part({"arm": "kd", "loss": 4.0}) is None
    assert labels_part({"arm": "kd", "loss": 4.0, "label_loss": 0.5}) == 0.5
    assert labels_part({"arm": "baseline", "loss": 0.75}) == 0.75


def test_several_seeds_are_faint_lines_and_a_strong_one_for_their_mean():
    given = [{"arm": "kd", "seed": seed, "epoch": epoch, "v": seed + epoch} for seed in (0, 1) for epoch in (1, 2)]
    lines = curves(points_of(given, lambda row: row["v"]), "nats").axes[0].get_lines()
    assert [line.get_alpha() for line in lines] == [0.45, 0.45, None]
    assert list(lines[2].get_ydata()) == [1.5, 2.5]


def test_a_mean_is_of_the_epochs_that_all_seeds_have():
    assert mean_of({0: {1: 1.0, 2: 2.0}, 1: {1: 3.0}}) == {1: 2.0}


def test_each_teacher_has_a_line_of_its_own():
    given = [{"arm": "teacher", "teacher": name, "seed": 0, "epoch": 1, "v": 1.0} for name in ("a", "b")]
    points = points_of([*given, {"arm": "kd", "seed": 0, "epoch": 1, "v": 1.0}], lambda row: row["v"])
    assert list(points) == [("teacher", "a"), ("teacher", "b"), ("kd", "")]
    assert len(curves(points, "%").axes[0].get_lines()) == 3


@pytest.mark.parametrize("epochs", [1, 7, 9, 40, 1000])
def test_epochs_are_whole_numbers(epochs):
    figure = curves(points_of(rows(epochs), lambda row: row["val_accuracy"]), "%")
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks and all(tick == int(tick) >= 1 for tick in ticks)


def test_epochs_are_logarithmic_where_one_network_trained_for_far_more():
    [few, *_], [many, *_] = learning_curves(rows(8)), learning_curves(rows(9))
    assert "logarithmic" not in few.note and few.draw().axes[0].get_xscale() == "linear"
    assert "logarithmic" in many.note and many.draw().axes[0].get_xscale() == "log"


def test_the_numbers_of_a_chart_are_those_that_it_draws():
    [accuracy, *_] = learning_curves(rows(2, seeds=2))
    assert accuracy.headings[1:] == [
        "teacher",
        "student, labels only, seed 0",
        "student, labels only, seed 1",
        "student, distilled, seed 0",
        "student, distilled, seed 1",
    ]
    assert accuracy.lines == [["1", *5 * ["50"]], ["2", "–", *4 * ["50"]]]
    assert "student, distilled, mean of 2 seeds: 50 after epoch 1, 50 after epoch 2" in accuracy.said


@pytest.mark.parametrize(("epochs", "last"), [(40, ["40"]), (41, ["40", "41"]), (1000, ["975", "1000"])])
def test_of_many_epochs_some_and_the_last_are_in_the_table(epochs, last):
    [chart, *_] = learning_curves(rows(epochs))
    assert len(chart.lines) <= 41
    assert [line[0] for line in chart.lines][-len(last) :] == last


def test_a_network_of_one_epoch_is_a_dot_beside_one_of_many():
    few, many = (
        [{"arm": arm, "seed": 0, "epoch": e, "v": 1.0} for e in range(1, n + 1)]
        for arm, n in (("kd", 1), ("teacher", 60))
    )
    long, short = curves(points_of([*few, *many], lambda row: row["v"]), "%").axes[0].get_lines()
    assert (long.get_marker(), short.get_marker()) == ("", "o")


def test_a_weight_that_changes_is_told_beside_its_term_and_is_no_term_itself():
    rows = [{"arm": "kd", "seed": 0, "epoch": e, "loss": 1.0, "kd": 2.0 / e, "weight_kd": 0.1 * e} for e in (1, 2, 3)]
    assert terms_of(rows) == ["kd"]
    [chart] = [chart for chart in learning_curves(rows) if chart.name == "term_kd"]
    assert "Its weight follows a schedule: on average 0.1 in epoch 1 and 0.3 in epoch 3. Each term" in chart.note
