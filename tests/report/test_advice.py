"""Advice: each rule speaks where its case is there, with the figures found, and is silent where it is not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_build import CLASSES, IMAGES, fill

from kdrecipes.report.advice import RULES, drowning_terms
from kdrecipes.report.build import build_report, check_report, write_report
from kdrecipes.report.facts import read_arms, write_facts
from kdrecipes.report.intervals import detectable, seeds_to_see
from kdrecipes.report.table import summary_text
from kdrecipes.wording import about_points

PAGE = (Path(__file__).resolve().parents[2] / "docs/guide/advice.md").read_text(encoding="utf-8")
LABELS = np.random.default_rng(0).integers(0, len(CLASSES), IMAGES)


def told(right, sure=4.0):
    """Logits that name the label of the first `right` images, and another class of the others."""
    named = np.where(np.arange(IMAGES) < right, LABELS, (LABELS + 1) % len(CLASSES))
    return (sure * np.eye(len(CLASSES))[named]).astype(np.float32)


def run_of(folder, logits, *, history=None, seeds=(0,), **recipe):
    """A run folder with these test logits, and with `history`: (arm, seed) → epochs of loss and validation accuracy."""
    told_of = {("teacher", 0): [(1.0, 0.9)]} | (history or {})
    fill(folder, seeds=seeds, **recipe)
    with np.load(folder / "predictions.npz") as stored:
        arrays = {name: stored[name] for name in stored}
    np.savez(folder / "predictions.npz", **arrays | {"labels": LABELS} | logits)
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for row in rows:
        if (row["arm"], row["seed"]) in told_of:
            row["loss"], row["val_accuracy"] = told_of[row["arm"], row["seed"]][row["epoch"] - 1]
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def sound(**changed):
    return {"of the teacher": told(36), "baseline-0": told(30), "kd-0": told(34)} | changed


def codes(folder):
    report = build_report(folder)
    check_report(report)
    return [one["code"] for one in report["advice"]]


def test_a_sound_run_is_given_no_advice(tmp_path):
    assert codes(run_of(tmp_path / "run", sound())) == []


def test_students_that_took_different_numbers_of_steps_are_told_first_and_not_judged(tmp_path):
    run = run_of(tmp_path / "run", sound(**{"kd-0": told(5)}))
    arms = read_arms(run)
    write_facts(run, "arms", {**arms, "kd-0": replace(arms["kd-0"], steps=7)})
    report = build_report(run)
    assert report["advice"][0]["code"] == "KD001"
    assert "baseline-0 took 20 steps and kd-0 7" in report["advice"][0]["text"]
    found = report["comparison"]["kd_minus_baseline"]
    assert found["verdict"] == "unclear" and found["ci95"][1] < 0, "else it were told as hurt"
    text = summary_text(report)
    assert "test images. No fair comparison: with seed 0 the labels-only student took 20 steps and" in text
    assert "−62.50 points of test accuracy, is not what the teacher gave." in text
    assert "hurt" not in text and "is worse" not in text and "McNemar" not in text


def test_a_student_at_chance_whose_loss_fell(tmp_path):
    fell = {("kd", 0): [(1.1, 0.3), (0.4, 0.3)]}
    constant = (np.eye(3)[np.zeros(IMAGES, int)]).astype(np.float32)
    run = run_of(tmp_path / "run", sound(**{"kd-0": constant}), history=fell)
    [text] = [one["text"] for one in build_report(run)["advice"] if one["code"] == "KD002"]
    assert "kd-0" in text and "from 1.10 to 0.40" in text and "recalibrate_batch_norm = 100" in text
    still = {("kd", 0): [(1.1, 0.3), (1.0, 0.3)]}
    assert "KD002" not in codes(run_of(tmp_path / "still", sound(**{"kd-0": constant}), history=still))


def test_an_earlier_epoch_was_clearly_better(tmp_path):
    def of(first, last):
        return {("baseline", 0): [(1.0, first), (0.5, last)]}

    assert codes(run_of(tmp_path / "a", sound(), history=of(0.9, 0.5))) == ["KD003"]
    assert codes(run_of(tmp_path / "b", sound(), history=of(0.9, 0.85))) == [], "within the noise of 20 images"
    assert codes(run_of(tmp_path / "c", sound(), history=of(0.5, 0.9))) == []


def test_a_teacher_that_is_no_better_than_the_labels_only_student(tmp_path):
    weak = {("teacher", 0): [(1.0, 0.4)]}
    like = sound(**{"kd-0": told(30)})
    text = build_report(run_of(tmp_path / "a", like, history=weak))["advice"][0]["text"]
    assert text.startswith("The teacher has 40.0 % of the validation images right and the labels-only students 50.0 %.")
    assert "KD004" not in codes(run_of(tmp_path / "b", sound(), history=weak)), (
        "the student took more from it all the same"
    )
    strong = {("teacher", 0): [(1.0, 0.9)]}
    assert codes(run_of(tmp_path / "c", like, history=strong)) == []


def test_worse_probabilities_of_a_student_that_is_as_accurate(tmp_path):
    run = run_of(tmp_path / "run", sound(**{"baseline-0": told(30, 1.0), "kd-0": told(30, 20.0)}))
    assert "KD005" in codes(run)
    hurt = run_of(tmp_path / "hurt", sound(**{"baseline-0": told(38, 1.0), "kd-0": told(10, 20.0)}))
    assert "KD005" not in codes(hurt)


def test_a_teacher_whose_probabilities_are_labels_at_the_recipes_temperature(tmp_path):
    logits = {"of the teacher": told(36, 16.0), "baseline-0": told(30), "kd-0": told(30)}
    kd = {"name": "kd", "temperature": 1.0}
    assert codes(run_of(tmp_path / "a", logits, loss=kd)) == ["KD006"]
    assert codes(run_of(tmp_path / "b", logits, loss={"name": "kd", "temperature": 4.0})) == []
    both = {"terms": [{"name": "kd", "temperature": 4.0}, {"name": "kd", "temperature": 1.0}]}
    assert codes(run_of(tmp_path / "c", logits, loss=both)) == ["KD006"]
    assert codes(run_of(tmp_path / "d", logits, loss={"name": "hint"})) == []


def test_how_many_seeds_would_show_a_difference_of_this_size(tmp_path):
    rights = {"baseline-0": 30, "kd-0": 34, "baseline-1": 30, "kd-1": 29, "baseline-2": 30, "kd-2": 33}
    logits = {"of the teacher": told(36)} | {name: told(right) for name, right in rights.items()}
    [text] = [one["text"] for one in build_report(run_of(tmp_path, logits, seeds=(0, 1, 2)))["advice"]]
    seeds = seeds_to_see([4 / 40, -1 / 40, 3 / 40])
    assert (
        f"3 seeds are too few to tell a difference of +5.00 points from none. If it is real, about {seeds} would"
        in text
    )
    assert text.endswith("The test images are few too: one of 40 is 2.5 points.")


def told_apart(better, worse):
    """Test logits of two students of which each alone names so many images right."""
    baseline, kd = told(30), told(30)
    right, wrong = told(IMAGES), told(0)
    kd[30 : 30 + better] = right[30 : 30 + better]
    kd[:worse] = wrong[:worse]
    return {"of the teacher": told(36), "baseline-0": baseline, "kd-0": kd}


def test_one_seed_says_what_it_could_have_seen_and_not_how_many_seeds_would(tmp_path):
    [one] = build_report(run_of(tmp_path / "a", told_apart(3, 2)))["advice"]
    gains = np.repeat([1, -1, 0], [3, 2, IMAGES - 5])
    could = detectable([gains])
    needed = IMAGES * (could / (1 / IMAGES)) ** 2
    assert one["code"] == "KD007" and 1000 < needed < 10_000
    assert (
        f"One seed and 40 test images could not have seen a difference below about {about_points(could)} points"
        in one["text"]
    )
    assert "and +2.50 was found." in one["text"] and "is unknown from one" in one["text"]
    assert f"About {int(np.ceil(needed / 100)) * 100:,} test images would tell these two students apart" in one["text"]
    assert codes(run_of(tmp_path / "same", told_apart(2, 2))) == [], "no difference was found"
    assert codes(run_of(tmp_path / "clear", told_apart(8, 0))) == []


def test_students_that_trained_unlike_are_not_told_how_to_see_their_difference(tmp_path):
    run = run_of(tmp_path / "run", told_apart(3, 2))
    arms = read_arms(run)
    write_facts(run, "arms", {**arms, "kd-0": replace(arms["kd-0"], steps=7)})
    assert codes(run) == ["KD001"]


@pytest.mark.parametrize("differences", [[0.1, -0.02, 0.08], [0.01, 0.02, 0.03], [-0.3, -0.1, -0.2, -0.25]])
def test_so_many_seeds_are_the_least_that_could_see_the_mean(differences):
    seeds, mean = seeds_to_see(differences), abs(np.mean(differences))

    def least(n):  # by `detectable` itself: n seeds with this standard deviation, of a million images
        spread = np.std(differences, ddof=1) * np.sqrt((n - 1) / n) if n > 1 else 0
        gains = [np.zeros(10**6, int) for _ in range(n)]
        for i, gain in enumerate(gains):
            up = spread * np.sqrt(n) * np.sqrt(1 / 2) * ((i == 0) - (i == 1))
            gain[: int(abs(up) * 10**6)] = np.sign(up)
        return detectable(gains)

    assert least(seeds) <= mean * 1.001 and (seeds == 3 or least(seeds - 1) > mean * 0.999)
    assert seeds_to_see([0.1, -0.1, 0.0001]) is None


def test_images_that_are_learnt_and_measured_or_stand_under_two_labels(tmp_path):
    copies = {"among": "test", "also": "training", "images": 20, "of": 40, "names": ["a.jpg", "b\udcff.jpg", "c.jpg"]}
    twice = {"among": "labels", "also": "another label", "images": 2, "of": 160, "names": ["d.jpg", "e.jpg"]}
    run = run_of(tmp_path / "run", sound(), same=[copies, twice])
    report = write_report(run)
    check_report(report)
    first, second = report["advice"]
    assert (first["code"], second["code"]) == ("KD008", "KD009")
    assert first["text"].startswith("20 of the 40 test images are pixel for pixel the same as training images: a.jpg, ")
    assert "c.jpg and 17 more. What is measured on them is memory" in first["text"]
    assert second["text"].startswith("2 of the 160 train, validation and test images are there under another label")
    assert report["dataset"]["identical"] == [copies, twice]
    assert summary_text(report).count("pixel for pixel") == 1, "told once, as advice"
    assert codes(run_of(tmp_path / "only", sound(), same=[twice])) == ["KD009"]


@pytest.mark.parametrize(
    ("norm", "steps", "told"),
    [
        ({"momentum": 0.9, "reestimated": 0}, 40, "kd-0: 40 steps are few: its batch-norm statistics lag behind"),
        ({"momentum": 0.9, "reestimated": 12}, 40, ""),
        ({"momentum": 0.9, "reestimated": 0}, 2000, ""),
        ({"momentum": 0.999, "reestimated": 0}, 2000, "kd-0: 14 % of what its slowest batch normalisation holds is"),
        ({"momentum": 0.999, "reestimated": 0}, 2400, ""),
        ({"momentum": 0.999, "reestimated": 100}, 40, ""),
        ({}, 40, ""),
    ],
)
def test_too_few_steps_for_batch_norm_statistics(tmp_path, norm, steps, told):
    run = run_of(tmp_path / "run", sound())
    arms = {
        name: replace(one, steps=steps, batch_norm=norm and {**norm, "why": "so"} if name == "kd-0" else {})
        for name, one in read_arms(run).items()
    }
    write_facts(run, "arms", arms | {"baseline-0": replace(arms["baseline-0"], steps=steps)})
    report = build_report(run)
    check_report(report)
    texts = [one["text"] for one in report["advice"]]
    assert [one["code"] for one in report["advice"]] == (["KD010"] if told else [])
    assert not told or (texts[0].startswith(told) and "recalibrate_batch_norm = 100 estimates them anew" in texts[0])


def test_a_student_at_chance_is_not_told_to_do_what_was_done(tmp_path):
    fell = {("kd", 0): [(1.1, 0.3), (0.4, 0.3)]}
    constant = (np.eye(3)[np.zeros(IMAGES, int)]).astype(np.float32)
    run = run_of(tmp_path / "run", sound(**{"kd-0": constant}), history=fell)
    arms = read_arms(run)
    done = {"momentum": 0.9, "reestimated": 5, "why": "so"}
    write_facts(run, "arms", {**arms, "kd-0": replace(arms["kd-0"], batch_norm=done)})
    [text] = [one["text"] for one in build_report(run)["advice"] if one["code"] == "KD002"]
    assert "recalibrate" not in text and text.endswith("Train for more epochs.")


def gradients(run, *measured):
    """Let the distilled student's epochs hold these norms: of "label_loss" and of terms."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    for row, one in zip([row for row in lines if row["arm"] == "kd"], measured, strict=False):
        row.update({f"gradient_{name}": norm for name, norm in one.items()})
    (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    report = write_report(run)
    return report, [one["code"] for one in report["advice"]]


def test_a_term_that_does_not_move_the_student(tmp_path):
    still = [{"label_loss": 0.1, "kd": 0.2, "hint": 0.0}, {"label_loss": 0.05, "kd": 0.2, "hint": 0}]
    report, told = gradients(run_of(tmp_path / "a", sound()), *still)
    assert told == ["KD011"] and "The term 'hint' does not move the student" in report["advice"][0]["text"]
    assert report["arms"][1]["gradients"] == [{"epoch": 1, **still[0]}, {"epoch": 2, **still[1]}]
    assert "gradients" not in report["arms"][0]
    later = [still[0], {"label_loss": 0.05, "kd": 0.2, "hint": 0.01}]
    assert gradients(run_of(tmp_path / "b", sound()), *later)[1] == [], "it moved the student later"
    assert gradients(run_of(tmp_path / "c", sound()), {"kd": 0.0})[1] == ["KD011"], "no image had a label"
    assert gradients(run_of(tmp_path / "d", sound()), {"kd": 1e-9})[1] == []
    faint, loss = {"label_loss": 1.0, "kd": 1e-8}, {"name": "kd", "label_weight": 0.0}
    report, told = gradients(run_of(tmp_path / "e", sound(), loss=loss), faint)
    assert told == ["KD011"] and "at most 1e-08 of the label loss's with a weight of 1" in report["advice"][0]["text"]


def test_a_term_that_drowns_the_labels(tmp_path):
    loud = [{"label_loss": 0.01, "kd": 2.0}, {"label_loss": 0.001, "kd": 1.5}]
    report, told = gradients(run_of(tmp_path / "a", sound()), *loud)
    assert told == ["KD012"] and "the term 'kd' is 200 times the label loss's or more" in report["advice"][0]["text"]
    once = [{"label_loss": 0.01, "kd": 0.9}, loud[1]]
    assert gradients(run_of(tmp_path / "b", sound()), *once)[1] == [], "labels that are learnt have small gradients"
    nothing = {"name": "kd", "label_weight": 0.0}
    assert gradients(run_of(tmp_path / "c", sound(), loss=nothing), *loud)[1] == [], "there is nothing to drown"


def test_every_code_has_its_part_of_the_page():
    assert [rule.code for rule in RULES] == [f"KD{i:03}" for i in range(1, len(RULES) + 1)]
    assert re.findall(r"^## (KD\d{3}): (.*)$", PAGE, re.MULTILINE) == [(rule.code, rule.title) for rule in RULES]


def test_advice_is_in_terminal_report_and_page(tmp_path):
    run = run_of(tmp_path / "run", sound(), history={("kd", 0): [(1.0, 0.95), (0.5, 0.4)]})
    report = write_report(run)
    [one] = report["advice"]
    assert f"KD003: {one['text']}" in summary_text(report)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'aria-label="Advice"' in page and f"<strong>KD003</strong> {one['text']}" in page
    older = {key: value for key, value in report.items() if key != "advice"}
    check_report(older)
    assert "KD003" not in summary_text(older), "a report of before advice is still told"


def test_advice_on_a_term_whose_weight_changes_speaks_of_the_weight_in_force():
    row = {"arm": "kd", "gradient_kd": 500.0, "gradient_label_loss": 1.0}
    words = "It was measured with the weight that its schedule had put in force."
    for more, said in (({}, False), ({"weight_kd": 0.5}, True)):
        facts = SimpleNamespace(rows=[row | more], label_weight=1.0)
        [text] = drowning_terms(facts, {})
        assert text.endswith(words) is said
