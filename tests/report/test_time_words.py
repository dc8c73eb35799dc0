"""Where a run's time went, in words: one line for the terminal, rows for the page."""

from __future__ import annotations

from kdrecipes.report.time_words import energy_words, time_line, time_rows

REPORT = {
    "time": {
        "wall": 50.0,
        "parts": [
            {"part": "start", "seconds": 4.0, "by": "this"},
            {"part": "data", "seconds": 1.0, "by": "earlier"},
            {"part": "teacher", "of": "cnn", "seconds": 10.0, "by": "both"},
            {"part": "outputs", "of": "cnn", "seconds": 0.1, "by": "this"},
            {"part": "arm", "of": "baseline-0", "seconds": 0.0, "by": "earlier"},
            {"part": "arm", "of": "kd-0", "seconds": 25.0, "by": "this"},
            {"part": "evaluation", "seconds": 5.0, "by": "this"},
        ],
    },
    "energy": {"processors": 12345.6, "gpus": 999.4},
}


def test_one_line_tells_the_shares_what_was_found_and_the_machines_energy():
    assert time_line(REPORT) == (
        "Took 50 s: preparing 10 %, teacher 20 %, students 50 %, tests 10 %, the rest 10 %. Done before, in whole or "
        "in part: preparing the data, teacher cnn, student baseline-0. The whole machine took meanwhile: "
        "processors 12.35 kJ, GPUs 999 J."
    )


def test_rows_tell_each_part_and_the_rest():
    assert time_rows(REPORT) == [
        ("loading libraries", "4.0 s", "8 %", ""),
        ("preparing the data", "1.0 s", "2 %", "by an earlier process or run"),
        ("teacher cnn", "10 s", "20 %", "a part of it by an earlier process or run"),
        ("outputs of the teacher cnn", "0.1 s", "0 %", ""),
        ("student baseline-0", "–", "0 %", "by an earlier process or run"),
        ("student kd-0", "25 s", "50 %", ""),
        ("tests", "5.0 s", "10 %", ""),
        ("the rest", "4.9 s", "10 %", ""),
    ]


def test_reports_that_are_older_tell_nothing():
    assert (time_line({}), time_rows({}), energy_words({})) == ("", [], "")


def test_energy_that_no_counter_tells_is_not_mentioned():
    report = {"time": {"wall": 0.0, "parts": []}}
    assert time_line(report) == "Took 0.0 s."
    assert energy_words(report) == ""
