"""Accuracy against what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from kdrecipes.report.tradeoff import tradeoffs


def report(seeds: int = 1, measured: bool = True) -> dict[str, Any]:
    def network(accuracy: float, params: int) -> dict[str, Any]:
        measures = {"size_bytes": 4 * params, "latency_ms": {"1": {"median": params / 1e6, "p95": 9.0}}}
        return {"test_accuracy": accuracy, "params": params, **(measures if measured else {})}

    teacher = {"id": "cnn", "component": "cnn", "seconds": {"fit": 0.0, "outputs": 0.0}, **network(0.9, 40_000_000)}
    arms = [
        {"arm": arm, "seed": seed, "seconds": 1.0, **network(0.8 + bonus + seed / 100, 2_000_000)}
        for arm, bonus in (("baseline", 0.0), ("kd", 0.05))
        for seed in range(seeds)
    ]
    return {"schema_version": 2, "teachers": [teacher], "arms": arms, "dataset": {"test": 1000}}


def test_latency_and_size_are_drawn_where_they_were_measured_and_else_the_parameters():
    assert [chart.name for chart in tradeoffs(report())] == ["accuracy_latency", "accuracy_size"]
    assert [chart.name for chart in tradeoffs(report(measured=False))] == ["accuracy_parameters"]


def test_networks_that_all_cost_the_same_are_no_chart():
    given = report(measured=False)
    given["teachers"][0]["params"] = 2_000_000
    assert list(tradeoffs(given)) == []


def test_students_alone_are_no_chart():
    assert list(tradeoffs({**report(), "teachers": []})) == []


def test_the_numbers_are_in_milliseconds_and_megabytes():
    latency, size = tradeoffs(report())
    assert latency.headings[1] == "Latency, ms" and [line[1] for line in latency.lines] == ["40", "2", "2"]
    assert size.headings[1] == "Size, MB" and [line[1] for line in size.lines] == ["160", "8", "8"]
    assert latency.said.startswith("teacher (cnn): 90.00 % at 40 ms; student, labels only: 80.00 % at 2 ms; ")


def test_a_network_has_wilsons_interval_over_the_test_images():
    latency, _ = tradeoffs(report())
    assert latency.lines[0][3] == "87.98 to 91.71"
    assert "95% intervals over test images" in latency.note


def test_three_seeds_have_an_interval_over_seeds_and_two_have_none():
    three, _ = tradeoffs(report(3))
    assert three.lines[1][2:] == ["81.00", "78.52 to 83.48"]
    two, _ = tradeoffs(report(2))
    assert two.lines[1][2:] == ["80.50", "–"] and "two seeds are too few" in two.note


@pytest.mark.parametrize(("params", "scale"), [(20_000_000, "linear"), (20_000_001, "log")])
def test_a_cost_that_spans_more_than_ten_times_is_on_a_logarithmic_scale(params, scale):
    given = report(measured=False)
    given["teachers"][0]["params"] = params
    [chart] = tradeoffs(given)
    assert chart.draw().axes[0].get_xscale() == scale


def test_each_seed_and_each_interval_is_inside_the_picture():
    for seeds in (1, 2, 3):
        for chart in tradeoffs(report(seeds)):
            axes = chart.draw().axes[0]
            low, high = axes.get_ylim()
            assert all(low <= value <= high for line in axes.get_lines() for value in line.get_ydata())


def test_students_that_cost_the_same_are_said_to_stand_side_by_side():
    given = report()
    latency, size = tradeoffs(given)
    assert "one architecture: what their latencies differ by is chance" in latency.note
    assert "stand side by side" in size.note
    given["arms"][0]["size_bytes"] += 1
    assert "stand side by side" not in list(tradeoffs(given))[1].note


def test_a_latency_reaches_to_what_95_of_100_calls_stay_below():
    latency, size = tradeoffs(report())
    lines = [list(line.get_xdata()) for line in latency.draw().axes[0].get_lines()]
    assert [2.0, 9.0] in lines and "95 of 100 calls" in latency.note and "95 of 100 calls" not in size.note
