"""The report's table and its one sentence, which is never stronger than the evidence."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.report.build import check_report
from kdrecipes.report.table import summary_text, table_rows
from kdrecipes.report.verdict import against_teacher, decide, loss_and_calibration, verdict

SHA = "0" * 64


def difference(mean, ci95, seeds=1, *, better=None, margin=0.002, detectable=0.0173, p=0.5):
    """Of `seeds` seeds, in the first `better` of which the distilled student is right more often."""
    better = seeds if better is None else better
    odd = [(3, 1) if seed < better else (1, 3) for seed in range(seeds)]
    return {
        "mean": mean,
        "ci95": ci95,
        "ci95_over": "test images" if seeds == 1 else "seeds",
        "seeds": seeds,
        "mcnemar": [
            {"seed": seed, "only_kd_right": a, "only_baseline_right": b, "p": p} for seed, (a, b) in enumerate(odd)
        ],
        "test_loss": {"mean": -0.0214, "ci95": ci95 and [-0.03, -0.0124]},
        "ece": {"mean": 0.004, "ci95": ci95 and [-0.001, 0.009]},
        "detectable": ci95 and detectable,
        "margin": margin,
        "verdict": decide(ci95, margin),
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
        "schema_version": 2,
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
        "teachers": [
            {
                "id": "cnn",
                "component": "cnn",
                "params": 99999,
                "test_accuracy": 0.95,
                "test_loss": 0.2,
                "ece": 0.05,
                "macro_f1": 0.95,
                "sha256": SHA,
                "reused": False,
                "seconds": {"fit": 3.0, "outputs": None},
            }
        ],
        "arms": [a for s in range(seeds) for a in (arm("baseline", s, 0.8 + s / 100), arm("kd", s, 0.82))],
        "comparison": {"kd_minus_baseline": found},
        "warnings": [],
        "environment": {"versions": {}, "device": "cpu", "threads": 2},
    }


GENERAL = " One seed says nothing about distillation in general: compare.seeds = [0, 1, 2] does."
COUNT = "in {} of 3 seeds the distilled student was better."
SENTENCES = {
    "one seed, helped": (
        difference(0.02, [0.01, 0.03], p=0.012),
        "Of these two students the distilled one scores +2.00 points of test accuracy (95% interval +1.00 to +3.00 "
        "over test images; McNemar p = 0.012). The distilled one is better." + GENERAL,
    ),
    "one seed, hurt": (
        difference(-0.02, [-0.03, -0.01], p=0.012),
        "Of these two students the distilled one scores −2.00 points of test accuracy (95% interval −3.00 to −1.00 "
        "over test images; McNemar p = 0.012). The distilled one is worse." + GENERAL,
    ),
    "one seed, same": (
        difference(0.0005, [-0.0005, 0.0015]),
        "Of these two students the distilled one scores +0.05 points of test accuracy (95% interval −0.05 to +0.15 "
        "over test images; McNemar p = 0.5). They are practically the same: the interval lies within ±0.2 points."
        + GENERAL,
    ),
    "one seed, unclear": (
        difference(0.002, [-0.01, 0.014]),
        "Of these two students the distilled one scores +0.20 points of test accuracy (95% interval −1.00 to +1.40 "
        "over test images; McNemar p = 0.5). This run can't tell: it could have seen a difference of about 1.7 points."
        + GENERAL,
    ),
    "one seed, no difference at all": (
        difference(0.0, [0.0, 0.0], margin=0.0, detectable=0.0603, p=1.0),
        "Of these two students the distilled one scores +0.00 points of test accuracy (95% interval +0.00 to +0.00 "
        "over test images; McNemar p = 1). This run can't tell: it could have seen a difference of about 6.0 points."
        + GENERAL,
    ),
    "two seeds": (
        difference(0.02, None, 2, better=1),
        "Over two seeds the distilled students score +2.00 points of test accuracy on average; in 1 of 2 seeds the "
        "distilled student was better. Two seeds are too few for an interval.",
    ),
    "three seeds, helped": (
        difference(0.02, [0.01, 0.03], 3),
        "Distillation helped here: +2.00 points of test accuracy over 3 seeds (95% interval +1.00 to +3.00); "
        + COUNT.format(3),
    ),
    "three seeds, hurt": (
        difference(-0.02, [-0.03, -0.01], 3, better=0),
        "Distillation hurt here: −2.00 points of test accuracy over 3 seeds (95% interval −3.00 to −1.00); "
        + COUNT.format(0),
    ),
    "three seeds, same": (
        difference(0.004, [0.001, 0.007], 3, better=2, margin=0.0125),
        "The students are practically the same here, distilled or not: +0.40 points of test accuracy over 3 seeds (95% "
        "interval +0.10 to +0.70, within ±1.25 points); " + COUNT.format(2),
    ),
    "three seeds, unclear": (
        difference(0.005, [-0.007, 0.017], 3, better=2),
        "This run can't tell: it could have seen a difference of about 1.7 points. The distilled students score +0.50 "
        "points of test accuracy over 3 seeds (95% interval −0.70 to +1.70); " + COUNT.format(2),
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_the_sentence_says_what_was_found_and_no_more(case):
    found, sentence = SENTENCES[case]
    assert verdict(report(found, found["seeds"])) == sentence


@pytest.mark.parametrize("case", SENTENCES)
def test_where_only_some_images_have_labels_the_sentence_says_how_many(case):
    found, sentence = SENTENCES[case]
    told = report(found, found["seeds"])
    told["dataset"] |= {"labelled": 1600, "unlabelled": 54000}
    assert verdict(told) == f"With the same 1,600 labels, {sentence[0].lower()}{sentence[1:]}"
    told["dataset"] |= {"labelled": 55600, "unlabelled": 0}
    assert verdict(told) == sentence


def test_one_seed_never_speaks_of_distillation():
    for case, (found, sentence) in SENTENCES.items():
        assert ("Of these two students" in sentence and "says nothing about" in sentence) == (found["seeds"] == 1), case
        assert ("istillation h" in sentence) == (found["seeds"] == 3 and found["verdict"] in ("helped", "hurt")), case


def test_without_a_baseline_there_is_no_difference_to_speak_of():
    told = report(None)
    told["comparison"] = {"kd_minus_teacher": difference(0.02, [0.01, 0.03])}
    for comparison in (told["comparison"], None):
        for arm, words in (("kd", "compare.baseline = false"), ("baseline", "the recipe has no teacher")):
            alone = [{**one, "arm": arm} for one in told["arms"]]
            assert words in verdict({**told, "arms": alone, "comparison": comparison})
        assert loss_and_calibration({**told, "comparison": comparison}) == ""


def test_loss_and_calibration_are_one_line():
    assert loss_and_calibration(report(difference(0.02, [0.01, 0.03]))) == (
        "Distilled minus labels only: test loss −0.021 nats (95% interval −0.030 to −0.012), ECE +0.40 points (−0.10 "
        "to +0.90); of both, less is better."
    )
    assert loss_and_calibration(report(difference(0.02, None, 2), 2)) == (
        "Distilled minus labels only: test loss −0.021 nats, ECE +0.40 points; of both, less is better."
    )


NEWER = ("test_loss", "ece", "detectable", "margin", "verdict")


def of_version_1(found, seeds=1):
    older = {key: value for key, value in found.items() if key not in NEWER}
    told = {**report(older, seeds), "schema_version": 1}
    (teacher,) = told.pop("teachers")
    return told | {"teacher": {key: value for key, value in teacher.items() if key != "id"}}


@pytest.mark.parametrize(
    ("interval", "seeds", "words"),
    [
        ([-0.01, 0.014], 1, "The test images do not tell these two students apart. One seed says nothing"),
        ([0.01, 0.03], 1, "p = 0.5). The distilled one is better. One seed says nothing"),
        (None, 2, "Two seeds are too few for an interval."),
        ([-0.01, 0.014], 3, "No difference was found: +0.20 points of test accuracy over 3 seeds (95% interval −1.00"),
        ([0.0001, 0.0003], 3, "Distillation helped here: +0.20 points"),
    ],
)
def test_a_report_of_version_1_is_valid_and_told_without_what_it_does_not_know(interval, seeds, words):
    told = of_version_1(difference(0.002, interval, seeds), seeds)
    check_report(told)
    assert words in verdict(told) and "can't tell" not in verdict(told)
    assert loss_and_calibration(told) == ""
    assert summary_text(told).endswith(verdict(told))


# --- helped, hurt, practically the same, or not told ------------------------------------------------------------------

SHARES = st.floats(-1, 1)
INTERVALS = st.tuples(SHARES, SHARES).map(sorted)
MARGINS = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("interval", "margin", "decided"),
    [
        ([0.001, 0.0015], 0.002, "same"),  # it leaves out 0, and yet is practically nothing
        ([-0.0019, 0.0019], 0.002, "same"),
        ([-0.001, 0.002], 0.002, "unclear"),  # what is not below the margin is no longer nothing
        ([0.001, 0.002], 0.002, "helped"),
        ([-0.002, -0.001], 0.002, "hurt"),
        ([0.001, 0.003], 0.002, "helped"),
        ([-0.003, -0.001], 0.002, "hurt"),
        ([0.0, 0.003], 0.002, "unclear"),
        ([0.0, 0.0], 0.0, "unclear"),
        ([1e-9, 2e-9], 0.0, "helped"),
        (None, 0.002, "unclear"),
    ],
)
def test_the_interval_and_the_margin_decide(interval, margin, decided):
    assert decide(interval, margin) == decided


@given(interval=INTERVALS, margin=MARGINS)
def test_against_us_is_told_as_for_us_is(interval, margin):
    low, high = interval
    mirrored = {"helped": "hurt", "hurt": "helped", "same": "same", "unclear": "unclear"}
    assert decide([-high, -low], margin) == mirrored[decide(interval, margin)]


@given(interval=INTERVALS, margin=MARGINS)
def test_practically_the_same_comes_before_better_and_worse(interval, margin):
    low, high = interval
    decided = decide(interval, margin)
    assert (decided == "same") == (max(abs(low), abs(high)) < margin)
    if decided != "same":
        assert (decided == "helped", decided == "hurt", decided == "unclear") == (low > 0, high < 0, low <= 0 <= high)


@given(interval=INTERVALS, margins=st.tuples(MARGINS, MARGINS).map(sorted))
def test_a_wider_margin_only_makes_more_the_same(interval, margins):
    narrow, wide = (decide(interval, margin) for margin in margins)
    assert wide in (narrow, "same")
    assert decide(interval, 0) != "same"


def test_table_has_three_rows_with_means_over_seeds():
    rows = table_rows(report(difference(0.01, [0.0, 0.02], 3), 3))
    assert [row["who"] for row in rows] == [
        "teacher (cnn)",
        "student, labels only, mean of 3 seeds",
        "student, distilled, mean of 3 seeds",
    ]
    assert rows[1]["accuracy"] == pytest.approx(0.81) and rows[1]["spread"] == pytest.approx(0.01)


def test_each_of_several_teachers_has_a_row_and_all_together():
    several = report(difference(0.01, [0.0, 0.02]))
    (teacher,) = several["teachers"]
    several["teachers"] = [teacher, {**teacher, "id": "wide", "params": 1}]
    several["ensemble"] = {"test_accuracy": 0.97, "test_loss": 0.1, "ece": 0.02, "macro_f1": 0.97}
    check_report(several)
    rows = table_rows(several)
    assert [row["who"] for row in rows][:3] == ["teacher cnn", "teacher wide (cnn)", "all 2 teachers together"]
    assert (rows[2]["accuracy"], rows[2]["params"], rows[2]["seconds"]) == (0.97, 100000, 6.0)


def test_a_report_of_the_first_version_has_the_same_table():
    old = of_version_1(difference(0.01, [0.0, 0.02]))
    assert summary_text(old).splitlines()[1].split()[:4] == ["teacher", "(cnn)", "95.00", "%"]
    assert table_rows({**old, "teacher": None})[0]["who"] == "student, labels only"


def test_summary_is_a_table_a_verdict_and_the_warnings():
    one = report(difference(0.02, [0.01, 0.03]))
    one["warnings"] = ["teacher preflight: weak"]
    lines = summary_text(one).splitlines()
    assert lines[1].split() == ["teacher", "(cnn)", "95.00", "%", "99,999", "3.0", "s"]
    assert lines[3].split()[:4] == ["student,", "distilled", "82.00", "%"]
    assert lines[-3] == f"360 test images. {verdict(one)}"
    assert lines[-2] == loss_and_calibration(one) and lines[-1] == "Warning: teacher preflight: weak"


WON = "teacher: +2.00 points of test accuracy (95% interval +1.00 to +3.00 over 3 seeds)."
LOST = "teacher: −2.00 points of test accuracy (95% interval −3.00 to +0.00 over test images)."


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (difference(0.02, [0.01, 0.03], 3), WON),
        (difference(-0.02, [-0.03, 0.0]), LOST),
        (difference(0.02, None, 2), "teacher: +2.00 points of test accuracy."),
    ],
)
def test_a_student_is_compared_with_its_teacher_too(found, line):
    one = report(difference(0.02, [0.01, 0.03]))
    assert against_teacher(one) == ""
    one["comparison"]["kd_minus_teacher"] = found
    assert against_teacher(one) == f"Distilled minus {line}" == summary_text(one).splitlines()[-2]
    one["teachers"] *= 2
    assert against_teacher(one).startswith("Distilled minus teachers together: ")
    assert against_teacher(of_version_1(difference(0.002, [0.0, 0.1]))) == ""


def test_schema_refuses_what_it_does_not_promise():
    good = report(difference(0.02, [0.01, 0.03]))
    check_report(good)
    found = good["comparison"]["kd_minus_baseline"]
    changed = [{"verdict": "better"}, {"margin": 1}, {"detectable": -0.1}, {"ece": {"mean": 0.1}}, {"more": 1}]
    differences = [{**found, **change} for change in changed]
    differences += [{key: value for key, value in found.items() if key != newer} for newer in NEWER]
    spoilt = [{"comparison": {"kd_minus_baseline": difference}} for difference in differences]
    for spoil in ({"extra": 1}, {"status": "running"}, {"arms": []}, {"schema_version": 3}, *spoilt):
        with pytest.raises(jsonschema.ValidationError):
            check_report({**good, **spoil})
