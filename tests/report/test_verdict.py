"""The report's table and its one sentence, which is never stronger than the evidence."""

import jsonschema
import pytest

from kdrecipes.report.build import check_report
from kdrecipes.report.table import summary_text, table_rows
from kdrecipes.report.verdict import verdict

SHA = "0" * 64


def difference(mean, ci95, seeds=1, p=0.5):
    return {
        "mean": mean,
        "ci95": ci95,
        "ci95_over": "test images" if seeds == 1 else "seeds",
        "seeds": seeds,
        "mcnemar": [{"seed": s, "only_kd_right": 3, "only_baseline_right": 1, "p": p} for s in range(seeds)],
    }


def report(found, seeds=1):
    def arm(kind, seed, accuracy):
        return {
            "arm": kind,
            "seed": seed,
            "params": 1234,
            "epochs": 2,
            "steps": 20,
            "seconds": 61.0,
            "test_accuracy": accuracy,
            "test_loss": 0.5,
            "ece": 0.1,
            "macro_f1": 0.8,
            "agreement": 0.9,
            "validation_accuracy": [0.7, 0.8],
            "best_epoch": 2,
            "student": f"students/{kind}-{seed}.keras",
        }

    return {
        "schema_version": 1,
        "name": "r",
        "status": "done",
        "command": "kdrecipes run r",
        "recipe_sha256": SHA,
        "dataset": {
            "name": "digits",
            "fingerprint": SHA,
            "classes": 10,
            "train": 100,
            "validation": 20,
            "test": 360,
            "converted": 0,
            "skipped": 0,
        },
        "teacher": {
            "component": "cnn",
            "params": 99999,
            "test_accuracy": 0.95,
            "test_loss": 0.2,
            "ece": 0.05,
            "macro_f1": 0.95,
            "sha256": SHA,
            "reused": False,
            "seconds": {"fit": 3.0, "outputs": None},
        },
        "arms": [a for s in range(seeds) for a in (arm("baseline", s, 0.8 + s / 100), arm("kd", s, 0.82))],
        "comparison": {"kd_minus_baseline": found},
        "warnings": [],
        "environment": {"versions": {}, "device": "cpu", "threads": 2},
    }


def test_one_seed_speaks_of_two_students_only():
    text = verdict(report(difference(0.02, [0.01, 0.03])))
    assert text.startswith("Of these two students the distilled one scores +2.00 points")
    assert "over test images" in text and "says nothing about distillation in general" in text
    assert "do not tell these two students apart" not in text


def test_one_seed_with_zero_inside_says_so():
    assert "do not tell these two students apart" in verdict(report(difference(0.002, [-0.01, 0.014])))


def test_two_seeds_are_too_few():
    assert "two are too few" in verdict(report(difference(0.02, None, 2), 2))


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ([0.01, 0.03], "Distillation helped here"),
        ([-0.03, -0.01], "Distillation hurt here"),
        ([-0.01, 0.03], "No difference was found"),
    ],
)
def test_three_seeds_may_speak_of_distillation(interval, words):
    mean = sum(interval) / 2
    assert verdict(report(difference(mean, interval, 3), 3)).startswith(words)


def test_table_has_three_rows_with_means_over_seeds():
    rows = table_rows(report(difference(0.01, [0.0, 0.02], 3), 3))
    assert [row["who"] for row in rows] == [
        "teacher (cnn)",
        "student, labels only, mean of 3 seeds",
        "student, distilled, mean of 3 seeds",
    ]
    assert rows[1]["accuracy"] == pytest.approx(0.81) and rows[1]["spread"] == pytest.approx(0.01)


def test_summary_is_a_table_a_verdict_and_the_warnings():
    one = report(difference(0.02, [0.01, 0.03]))
    one["warnings"] = ["teacher preflight: weak"]
    lines = summary_text(one).splitlines()
    assert lines[1].split() == ["teacher", "(cnn)", "95.00", "%", "99,999", "3.0", "s"]
    assert lines[3].split()[:4] == ["student,", "distilled", "82.00", "%"]
    assert lines[-1] == "Warning: teacher preflight: weak"


def test_schema_refuses_what_it_does_not_promise():
    good = report(difference(0.02, [0.01, 0.03]))
    check_report(good)
    for spoil in ({"extra": 1}, {"status": "running"}, {"arms": []}):
        with pytest.raises(jsonschema.ValidationError):
            check_report({**good, **spoil})
