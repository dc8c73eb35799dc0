"""The studies: what is committed of them is what their scripts would write, of recipes as they are shipped."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import kdrecipes
from kdrecipes.data.prepare import prepare
from kdrecipes.recipe.recalibration import BATCHES, FEW_STEPS
from kdrecipes.recipe.structure import structure_schema
from studies import batch_norm, labels, points, quickstart_seeds, shares, steps

ROOT = Path(__file__).resolve().parents[2]


def test_points_are_runs_of_the_shipped_recipe_in_folders_of_their_own(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(kdrecipes, "run", lambda recipe, out: seen.append((recipe, out)) or {"name": recipe.name})
    reports = points.run_points("digits", {"a": ["seed=1"], "b": ["train.epochs=2"]}, tmp_path)
    assert list(reports) == ["a", "b"] and [out for _, out in seen] == [
        tmp_path / "digits" / "a",
        tmp_path / "digits" / "b",
    ]
    assert seen[0][0].seed == 1 and seen[1][0].train.epochs == 2


def test_the_ten_seeds_are_told_and_written(monkeypatch, capsys):
    written = {}
    report = {
        "recipe_sha256": "a",
        "dataset": {"labelled": 300},
        "teachers": [{"test_accuracy": 0.8}],
        "arms": [{"arm": "baseline", "test_accuracy": 0.7}, {"arm": "kd", "seed": 3, "test_accuracy": 0.75}],
        "comparison": {"kd_minus_baseline": {"mean": 0.05, "ci95": [0.04, 0.06]}},
    }
    asked = {}
    monkeypatch.setattr(quickstart_seeds, "run_points", lambda recipe, made: asked.update(made) or {"x": report})
    monkeypatch.setattr(quickstart_seeds, "write", lambda name, value: written.update({name: value}))
    quickstart_seeds.main()
    assert asked == {f"seed-{seed}": [f"seed={seed}", f"compare.seeds=[{seed}]"] for seed in range(10)}
    assert written["quickstart_seeds"]["clear_of_zero"] == 1 and written["quickstart_seeds"]["seeds"][0]["seed"] == 3
    assert "+5.00 (+4.00 to +6.00)" in capsys.readouterr().out


def test_the_labels_only_student_is_trained_once_for_each_number_of_steps(tmp_path, home):
    from samples import short

    recipe = short("dataset.labelled=40", "teacher.train.batch_size=20")
    data = prepare(recipe)
    first = steps.trained(recipe, data, 0, 3, tmp_path)
    again = steps.trained(recipe, data, 0, 3, tmp_path)
    for mine, theirs in zip(first.weights, again.weights, strict=True):
        assert (mine.numpy() == theirs.numpy()).all()
    assert [file.name for file in tmp_path.glob("*.h5")] == ["3-0.weights.h5"]


@pytest.mark.parametrize("name", ["few_labels", "few_labels_pretrained"])
def test_the_baseline_was_also_given_the_steps_that_validation_prefers(name):
    found, report = (json.loads((ROOT / "results" / f"{name}{end}.json").read_text()) for end in ("_steps", ""))
    assert found["recipe_sha256"] == report["recipe_sha256"]
    best = max(found["tried"], key=lambda one: one["validation_accuracy"])
    assert found["preferred_steps"] == best["steps"] and len(found["test_accuracy"]) == len(found["seeds"]) == 3
    reached = {arm: [row["test_accuracy"] for row in points.arms_of(report, arm)] for arm in ("baseline", "kd")}
    better = max(sum(found["test_accuracy"]), sum(reached["baseline"])) / 3
    gain = 100 * (sum(reached["kd"]) / 3 - better)
    assert f"the gain is {gain:+.2f} points" in (ROOT / "docs" / "guide" / "when.md").read_text(encoding="utf-8")


def test_students_of_the_study_of_steps_are_kept_by_the_recipe_and_validation_alone_chooses(home, monkeypatch, capsys):
    seen, written = [], {}
    monkeypatch.setattr(sys, "argv", ["steps", "digits"])
    monkeypatch.setattr(steps, "trained", lambda r, data, seed, count, folder: seen.append((count, folder)) or count)
    looks = {"validation": 0, "test": 0}

    def predict(count, split, size):
        looks["test" if len(split) == 360 else "validation"] += 1
        return np.eye(10)[split.labels] * (1 if count == min(seen)[0] else -1)

    monkeypatch.setattr(steps, "predict", predict)
    monkeypatch.setattr(steps, "write", lambda name, value: written.update({name: value}))
    steps.main()
    recipe = kdrecipes.load_recipe(ROOT / "recipes" / "digits.toml")
    assert {folder.name for _, folder in seen} == {recipe.fingerprint[:20]}
    assert [count for count, _ in seen] == sorted(count for count, _ in seen) and len(seen) == len(steps.SHARES)
    assert written["digits_steps"]["preferred_steps"] == seen[0][0] and written["digits_steps"]["test_accuracy"] == [
        1.0
    ]
    assert looks == {"validation": len(steps.SHARES), "test": 1}, "test is looked at once"


def test_the_picture_is_drawn_from_the_committed_figures_of_the_shipped_recipe(tmp_path, monkeypatch):
    rows = json.loads((ROOT / "results" / "labels.json").read_text())["points"]
    assert [str(row["labelled"]) for row in rows] == list(labels.points())
    for row, changes in zip(rows, labels.points().values(), strict=True):
        recipe = kdrecipes.load_recipe(ROOT / "recipes" / "few_labels.toml", changes)
        assert row["recipe_sha256"] == recipe.fingerprint and row["seeds"] == len(recipe.compare.seeds)
    for name in ("few_labels", "few_labels_3000"):
        report = json.loads((ROOT / "results" / f"{name}.json").read_text())
        assert labels.row(report) in rows, "the shipped recipes are two of the points"
    (tmp_path / "docs" / "assets").mkdir(parents=True)
    monkeypatch.setattr(labels, "ROOT", tmp_path)
    labels.draw(rows)
    drawn, committed = (folder / "docs" / "assets" / "labels.svg" for folder in (tmp_path, ROOT))
    assert words_of(drawn) == words_of(committed) and len(words_of(drawn)) > 20


def words_of(picture):
    """What is written in a picture; where its lines run is another thing in another version of matplotlib."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", picture.read_text(encoding="utf-8"))


def test_the_share_of_labels_in_a_batch_was_settled_on_validation_as_the_guide_says():
    rows = json.loads((ROOT / "results" / "labelled_share.json").read_text())["shares"]
    assert [(row["labelled"], row["share"]) for row in rows] == list(shares.points())
    for row, changes in zip(rows, shares.points().values(), strict=True):
        recipe = kdrecipes.load_recipe(ROOT / "recipes" / "few_labels.toml", changes)
        assert row["recipe_sha256"] == recipe.fingerprint
        assert set(row) == {"labelled", "share", "recipe_sha256", "device_name", "steps", "validation_accuracy"}
    first, second = ([f"{100 * r['validation_accuracy']:.1f}" for r in rows if r["labelled"] == n] for n in (300, 600))
    page = " ".join((ROOT / "docs" / "guide" / "recipes.md").read_text(encoding="utf-8").split())
    assert "gave {}, {} and {} %, with 600 labels {}, {} and {} %".format(*first, *second) in page


def test_after_how_few_steps_statistics_are_estimated_anew_was_settled_on_validation_as_the_guide_says():
    rows = json.loads((ROOT / "results" / "batch_norm.json").read_text())["rows"]
    asked = [
        (data, net, n) for data in batch_norm.SETS for net, (_, counts) in batch_norm.NETWORKS.items() for n in counts
    ]
    assert [(row["data"], row["network"], row["steps"]) for row in rows] == asked
    page = (ROOT / "docs" / "guide" / "recipes.md").read_text(encoding="utf-8")
    for network, count in dict.fromkeys(one[1:] for one in asked):
        cells = []
        for row in rows:
            if (row["network"], row["steps"]) == (network, count):
                assert len(row["moving"]) == len(row["anew"]) == len(batch_norm.SEEDS) == 3
                moving, anew = 100 * np.mean(row["moving"]), 100 * np.mean(row["anew"])
                cells.append(f"{moving:.1f} {anew - moving:+.1f}".replace("-", "−"))
        assert f"| {network} | {count} | {' | '.join(cells)} |" in page
    for row in rows:
        if row["data"] != "photographs":
            assert row["recipe_sha256"] == batch_norm.recipe_of(row["data"], row["network"]).fingerprint
    gains = {n: [np.mean(r["anew"]) - np.mean(r["moving"]) for r in rows if r["steps"] == n] for n in batch_norm.STEPS}
    assert np.mean(gains[40]) > 0.1 and all(abs(np.mean(gains[n])) < 0.005 for n in (160, 320, 640))
    assert 80 < FEW_STEPS <= 160 and np.mean(gains[80]) > 0


def test_the_words_about_few_steps_name_the_numbers_that_a_run_goes_by():
    keys = structure_schema()["definitions"]
    text = keys["train"]["properties"]["recalibrate_batch_norm"]["description"]
    assert f"Absent: {BATCHES} for students that take fewer than {FEW_STEPS} steps, else 0." in text
    assert "Absent: as in [train]" in keys["teacher_train"]["properties"]["recalibrate_batch_norm"]["description"]
    scaffold = (ROOT / "kdrecipes/recipe/templates/recipe.toml.jinja").read_text(encoding="utf-8")
    assert f"absent: {BATCHES} batches at the end where the students take fewer than {FEW_STEPS} steps" in scaffold
    published = [json.loads(file.read_text()) for file in (ROOT / "results").glob("*.json")]
    taken = [arm["steps"] for one in published if isinstance(one, dict) for arm in one.get("arms", ())]
    assert taken and min(taken) >= FEW_STEPS, "published runs keep their bits"


def test_a_networks_statistics_are_judged_once_both_ways(tmp_path, home, monkeypatch):
    monkeypatch.setattr(batch_norm, "FOLDER", tmp_path)
    recipe, point = batch_norm.recipe_of("digits", "cnn"), batch_norm.Point("digits", "cnn", 3, 0)
    found = batch_norm.judged(recipe, prepare(recipe), point)
    assert set(found) == {"moving", "anew"} and batch_norm.judged(recipe, None, point) == found
    [file] = tmp_path.glob("*.json")
    assert json.loads(file.read_text()) == found


@pytest.mark.slow
def test_no_pixel_of_the_photographs_is_in_two_splits(tmp_path):
    batch_norm.draw_photographs(tmp_path)
    stripes = {
        split: {file.name.partition("-")[0] for file in (tmp_path / split).rglob("*.png")}
        for split in ("train", "validation", "test")
    }
    assert stripes["validation"] == {"2", "7"} and stripes["test"] == {"5"}
    assert not stripes["train"] & {"2", "5", "7"} and len(list(tmp_path.glob("*/*"))) == 18
