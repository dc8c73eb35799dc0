"""Runs side by side: paired by seed and test image, refused with the reason where they can't be, said in words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_build import CLASSES, IMAGES, fill
from test_html import Page
from typer.testing import CliRunner

from kdrecipes.cli.main import app
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import UsageError
from kdrecipes.report.compare import check_comparison, compare_runs, differing_keys
from kdrecipes.report.compare_page import render_comparison, write_comparison_page
from kdrecipes.report.compare_words import comparison_text, names_of
from kdrecipes.report.compared_run import ComparedRun
from kdrecipes.report.facts import read_facts, write_facts
from kdrecipes.report.intervals import accuracy_over_images, over_seeds

KD = {"name": "kd", "temperature": 4.0, "weight": 0.9, "label_weight": 0.1}
DIST = {"name": "dist", "weight": 2.0, "label_weight": 1.0}


def predicted(folder, **changed):
    """Write other arrays into a run's predictions."""
    with np.load(folder / "predictions.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "predictions.npz", **(arrays | {key.replace("_", "-"): value for key, value in changed.items()}))


def right(share):
    """Logits that name so many of the test images right, the first ones."""
    labels = np.random.default_rng(0).integers(0, len(CLASSES), IMAGES)
    named = np.where(np.arange(IMAGES) < share, labels, (labels + 1) % len(CLASSES))
    return 3 * np.eye(len(CLASSES), dtype=np.float32)[named]


@pytest.fixture
def two(tmp_path):
    """Two runs of one seed each; the second one's distilled student is right about four more images."""
    first, second = fill(tmp_path / "a", loss=KD), fill(tmp_path / "b", loss=DIST)
    predicted(first, kd_0=right(30))
    predicted(second, kd_0=right(34))
    return first, second


def refused(*folders):
    with pytest.raises(UsageError) as caught:
        compare_runs(folders)
    return str(caught.value)


def test_two_runs_of_one_seed_are_paired_by_test_image(two):
    found = compare_runs(two)
    check_comparison(found)
    [difference] = found["differences"]
    kd = difference["kd"]
    assert kd["mean"] == pytest.approx(4 / IMAGES) and (kd["ci95_over"], kd["seeds"]) == ("test images", [0])
    assert kd["ci95"] == accuracy_over_images(np.arange(IMAGES) < 34, np.arange(IMAGES) < 30)
    assert (difference["run"], difference["minus"]) == (str(two[1]), str(two[0]))
    first = found["runs"][0]
    assert first["test_accuracy"]["kd"] == {"mean": 30 / IMAGES, "sd": None}
    own = first["kd_minus_baseline"]["mean"]
    assert own == pytest.approx(30 / IMAGES - first["test_accuracy"]["baseline"]["mean"])
    assert (first["teachers"], first["student"], first["params"], first["labelled"]) == (["vit"], "cnn", 77, 60)
    assert first["loss"] == "label loss × 0.1 + kd (temperature = 4.0, weight = 0.9)"


def test_three_common_seeds_have_a_t_interval_and_two_have_none(tmp_path):
    runs = [
        fill(tmp_path / "a", seeds=(0, 1, 2)),
        fill(tmp_path / "b", seeds=(2, 1, 0)),
        fill(tmp_path / "c", seeds=(1, 2, 7)),
    ]
    for place, folder in enumerate(runs):
        predicted(folder, **{f"kd_{seed}": right(20 + seed + place * (seed + 1)) for seed in (1, 2)})
    predicted(runs[0], kd_0=right(20))
    predicted(runs[1], kd_0=right(21))
    found = compare_runs(runs)
    check_comparison(found)
    three, two = (one["kd"] for one in found["differences"])
    assert three["seeds"] == [2, 1, 0] and three["ci95_over"] == "seeds"
    assert three["ci95"] == pytest.approx(over_seeds([3 / IMAGES, 2 / IMAGES, 1 / IMAGES]))
    assert two["seeds"] == [1, 2] and two["ci95"] is None and two["verdict"] == "unclear"
    assert two["mean"] == pytest.approx(5 / IMAGES)
    assert "Two seeds are too few for an interval." in comparison_text(found)


@pytest.mark.parametrize(
    ("more", "word", "said"),
    [
        (20, "helped", "of these two students that of b is better"),
        (-20, "hurt", "of these two students that of b is worse"),
    ],
)
def test_a_clear_difference_has_its_verdict(two, more, word, said):
    predicted(two[0], kd_0=right(20))
    predicted(two[1], kd_0=right(20 + more))
    found = compare_runs(two)
    assert found["differences"][0]["kd"]["verdict"] == word
    assert f": {said}." in comparison_text(found)


def test_equal_students_differ_by_no_more_than_so_few_images_can_show(tmp_path):
    seeds = (0, 1, 2)
    runs = [fill(tmp_path / name, seeds=seeds) for name in "ab"]
    [difference] = compare_runs(runs)["differences"]
    assert difference["kd"]["ci95"] == [0.0, 0.0] and difference["kd"]["verdict"] == "unclear"
    assert difference["kd"]["detectable"] > 0.05


def test_labels_only_students_that_are_one_network_are_said_to_be(two):
    found = compare_runs(two)
    assert found["differences"][0]["same_baseline"] is True
    assert "Their labels-only students are the same networks." in comparison_text(found)
    with np.load(two[1] / "predictions.npz") as stored:
        other = stored["baseline-0"] + np.float32(1e-6)
    predicted(two[1], baseline_0=other)
    found = compare_runs(two)
    assert found["differences"][0]["same_baseline"] is False
    assert "labels only: +0.00 points" in comparison_text(found)


def test_distilled_students_that_are_one_network_could_have_seen_nothing(tmp_path):
    found = compare_runs([fill(tmp_path / name) for name in "ab"])
    assert found["differences"][0]["same_kd"] is True
    text = comparison_text(found)
    assert "Their distilled students are the same networks." in text and "could have seen" not in text
    rows = Page(render_comparison(found)).table("Students")
    assert [(row[3], row[-1]) for row in rows] == [("–", "the same networks")] * 2


def test_one_common_seed_tells_of_two_students_and_three_tell_of_runs(tmp_path, two):
    told = "One seed says nothing about distillation in general: runs with compare.seeds = [0, 1, 2] say more."
    predicted(two[0], kd_0=right(40), baseline_0=right(10))
    one = compare_runs(two)
    for text in (comparison_text(one), Page(render_comparison(one)).text):
        assert told in text and "of these two students the distilled one is better" in text
    runs = [fill(tmp_path / name, seeds=(0, 1, 2)) for name in "cd"]
    for seed in range(3):
        predicted(runs[1], **{f"kd_{seed}": right(39), f"baseline_{seed}": right(2)})
    three = compare_runs(runs)
    text = comparison_text(three)
    assert "these two students" not in text and told not in text and ", distilled is better" in text
    assert "after ±, the standard deviation over seeds" in text
    assert "±" not in comparison_text(one)


def test_a_list_of_values_is_written_with_commas(tmp_path):
    lists = {"seeds": [3, 4, 5]}, {"seeds": [3, 4]}
    runs = [fill(tmp_path / name, seeds=(3, 4), compare=one) for name, one in zip("ab", lists, strict=True)]
    assert [row[1:] for row in Page(render_comparison(compare_runs(runs))).table("Key")] == [["3, 4, 5", "3, 4"]]


def test_students_of_unlike_steps_are_told_of_and_not_judged(two):
    facts = read_facts(two[0])
    write_facts(
        two[0], "arms", {label: replace(arm, steps=20 + (arm.arm == "kd")) for label, arm in facts.arms.items()}
    )
    predicted(two[0], kd_0=right(IMAGES), baseline_0=right(2))
    assert compare_runs(two)["runs"][0]["kd_minus_baseline"]["verdict"] == "unclear"


def test_a_run_without_a_teacher_is_compared_by_its_labels_only_students(tmp_path):
    runs = [fill(tmp_path / "a"), fill(tmp_path / "b", kinds=("baseline",), teacher=False)]
    found = compare_runs(runs)
    check_comparison(found)
    assert found["runs"][1]["test_accuracy"]["kd"] is None and found["runs"][1]["loss"] == ""
    assert found["differences"][0]["kd"] is None and found["differences"][0]["baseline"] is not None
    assert render_comparison(found) and comparison_text(found)


def test_the_keys_that_differ_are_listed_and_no_others():
    first = {"name": "a", "seed": 0, "loss": {"terms": [{"name": "kd", "weight": 1.0}]}, "train": {"epochs": 1}}
    second = {
        "name": "b",
        "seed": 0,
        "loss": {"terms": [{"name": "kd", "weight": 0.5}, {"name": "dist"}]},
        "report": {},
    }
    assert differing_keys([first, second]) == [
        {"key": "loss.terms[0].weight", "values": [1.0, 0.5]},
        {"key": "train.epochs", "values": [1, None]},
        {"key": "loss.terms[1].name", "values": [None, "dist"]},
    ]
    assert differing_keys([{"a": 1}, {"a": True}]) == [{"key": "a", "values": [1, True]}]


def test_a_folder_of_runs_stands_for_them(tmp_path):
    (tmp_path / "confirm").mkdir()
    for name in ("003", "001"):
        fill(tmp_path / "confirm" / name)
    found = compare_runs([tmp_path / "confirm"])
    assert names_of(found) == ["001", "003"]


def test_runs_are_called_by_recipe_or_folder_or_path(tmp_path):
    paths = ["x/a", "x/b", "y/a"]
    called = lambda *runs: names_of({"runs": [{"name": name, "run": run} for name, run in runs]})  # noqa: E731
    assert called(("p", paths[0]), ("q", paths[2])) == ["p", "q"]
    assert called(("p", paths[0]), ("p", paths[1])) == ["a", "b"]
    assert called(("p", paths[0]), ("p", paths[2])) == ["x/a", "y/a"]


# ---- refused


def changed_dataset(folder, **changes):
    write_facts(folder, "dataset", replace(read_facts(folder).dataset, **changes))


def test_other_data_are_refused_with_the_reason_for_each_pair(tmp_path):
    runs = [fill(tmp_path / name) for name in "abcd"]
    changed_dataset(runs[1], name="fashion_mnist")
    changed_dataset(runs[2], fingerprint="1" * 64, labelled=30, train=90)
    changed_dataset(runs[3], classes=["ä", "b", "c"])
    told = refused(*runs).splitlines()
    pair = "{} and {} can't be paired: "
    assert told[0] == pair.format(runs[0], runs[1]) + "the dataset of one is digits, that of the other fashion_mnist."
    assert told[1].endswith(
        "their data have other fingerprints (00000000…, 11111111…), so images, labels or splits differ: train 100 and "
        "90 images, labelled 60 and 30 images. Their files do not tell that the test images are the same."
    )
    assert told[2] == pair.format(runs[0], runs[3]) + "their classes differ, 3 and 3." and len(told) == 3


def test_other_test_images_are_refused(tmp_path):
    runs = [fill(tmp_path / name) for name in "ab"]
    predicted(runs[1], index=np.arange(IMAGES)[::-1], names=np.array([f"{i}.jpg" for i in range(IMAGES)][::-1]))
    assert refused(*runs).endswith("of other test images, the first that differs is 0.jpg and 39.jpg.")


DATASET = {"name": "digits", "train": "train", "test": "test", "image_size": 8}


def fewer_labels(folder, **changes):
    """Another run of the same test images, of whose training images fewer have labels."""
    fill(folder, dataset={**DATASET, "labelled": 30, **changes})
    changed_dataset(folder, fingerprint="1" * 64, labelled=30, unlabelled=70)
    return folder


def listed(folder, sha256, written="1"):
    """Write what lay at the source into a run's lock."""
    lock = read_json(folder / "lock.json")
    lock["listing"] = {"test": {"fingerprint": written, "classes": {"a": {"images": 3, "sha256": sha256}}}}
    (folder / "lock.json").write_text(json.dumps(lock))


def test_runs_that_differ_in_labels_alone_are_paired_and_what_differs_is_told(tmp_path):
    first, other = fill(tmp_path / "a", dataset=DATASET), fewer_labels(tmp_path / "b")
    listed(first, "5" * 64)
    listed(other, "5" * 64, written="2")  # when files were written tells nothing of what they hold
    found = compare_runs([first, other])
    check_comparison(found)
    data = "labelled 60 and 30 images, unlabelled 40 and 70 images"
    assert found["differences"][0]["data"] == data
    said = f"a and b had other data: {data}. Their test images are the same."
    assert said in comparison_text(found) and said in " ".join(Page(render_comparison(found)).text.split())
    assert compare_runs([first, fill(tmp_path / "c", dataset=DATASET)])["differences"][0]["data"] is None


def test_what_may_be_other_test_images_stays_refused(tmp_path):
    first = fill(tmp_path / "a", dataset=DATASET)
    told = "Their files do not tell that the test images are the same."
    for place, changes in enumerate(({"test": "train[80%:]"}, {"path": "elsewhere"}, {"resize": "crop"})):
        assert told in refused(first, fewer_labels(tmp_path / f"b{place}", **changes))
    other = fewer_labels(tmp_path / "c")
    listed(first, "5" * 64)
    listed(other, "6" * 64)
    assert told in refused(first, other)
    named = fewer_labels(tmp_path / "d")
    listed(named, "5" * 64)
    predicted(named, names=np.array([f"{i}.png" for i in range(IMAGES)]))
    assert told in refused(first, named)
    predicted(named, names=np.array([f"{i}.jpg" for i in range(IMAGES)]), labels=np.zeros(IMAGES, int))
    assert told in refused(first, named)


def test_a_pair_that_is_refused_hides_no_other(two, tmp_path):
    bad = fill(tmp_path / "c", seeds=(7,))
    found = compare_runs([*two, bad])
    check_comparison(found)
    [left] = found["left_out"]
    assert left["run"] == str(bad) and "no seed in common" in left["why"] and len(found["runs"]) == 2
    assert left["why"] in " ".join(Page(render_comparison(found)).text.split())
    result = CliRunner().invoke(app, ["compare", *map(str, [*two, bad])])
    assert isinstance(result.exception, UsageError) and str(result.exception) == left["why"]
    assert "b − a, distilled: +10.00 points" in result.stdout
    assert compare_runs(two)["left_out"] == []


def test_runs_without_a_common_seed_are_refused(tmp_path):
    told = refused(fill(tmp_path / "a", seeds=(0, 1)), fill(tmp_path / "b", seeds=(2,)))
    assert told.endswith("they have no seed in common. One has seeds 0, 1; the other has seed 2.")


def test_everything_that_is_wrong_with_the_runs_is_told_at_once(tmp_path):
    whole, running, point, empty = (tmp_path / name for name in ("whole", "running", "point", "empty"))
    for folder in (whole, running, point):
        fill(folder)
    (running / "status.json").write_text('{"status": "running"}')
    (point / "predictions.npz").rename(point / "validation.npz")
    empty.mkdir()
    told = refused(whole, running, point, empty, tmp_path / "none", whole).splitlines()
    assert "is not finished (running), and only finished runs are compared." in told[0]
    assert "is a point of a sweep" in told[1] and "--confirm 3" in told[1]
    assert told[2].startswith(f"{empty} is no run folder") and told[3].startswith(
        f"{tmp_path / 'none'} is no run folder"
    )
    assert told[4] == f"{whole} is given twice. A run is compared with others." and len(told) == 5


def test_a_run_without_predictions_is_refused(two):
    (two[1] / "predictions.npz").unlink()
    assert f"{two[1]} has no predictions.npz" in refused(*two)


def test_one_run_alone_and_one_folder_under_two_names_are_refused(two, tmp_path):
    assert refused(two[0]) == f"Two runs or more are compared, and only {two[0]} is given: kdrecipes compare RUN RUN."
    (tmp_path / "link").symlink_to(two[0])
    assert refused(two[0], tmp_path / "link") == (
        f"{two[0]} and {tmp_path / 'link'} are one folder. A run is compared with others."
    )


# ---- said


def test_the_text_holds_figures_verdicts_and_keys(two):
    text = comparison_text(compare_runs(two))
    lines = text.splitlines()
    assert lines[0].split("  ")[-1] == "parameters" and lines[1].startswith("a ") and " 75.00 " in lines[1]
    assert "b − a, distilled: +10.00 points over the test images of seed 0, 95% interval " in text
    assert "loss.temperature     4     –" in text and "loss.name           kd  dist" in text


def test_the_page_is_whole_and_text_from_outside_stays_text(two, tmp_path):
    facts = read_facts(two[1])
    hostile = "<script>alert(1)</script>$x$ {{ 7 * 7 }}"
    write_facts(two[1], "recipe", replace(facts.recipe, name=hostile))
    found = compare_runs(two)
    write_comparison_page(found, tmp_path / "made" / "page.html")
    text = (tmp_path / "made" / "page.html").read_text(encoding="utf-8")
    assert render_comparison(found) == text and "http" not in text.replace("http-equiv", "")
    seen = Page(text)
    assert seen.open == [] and seen.tags.count("script") == 1 and seen.tags.count("svg") == 1
    assert seen.text.count(hostile) >= 6
    [row, baseline] = seen.table("Students")
    assert row[1] == "distilled" and row[2].startswith("+10.00 (") and baseline[-1] == "the same networks"
    assert next(line[0] for line in seen.table("Key")) == "loss.name"
    assert [line[3] for line in seen.table("Distilled, %")] == ["75.00", "85.00"]


def test_what_networks_cost_stands_where_it_was_measured(two):
    found = compare_runs(two)
    found["runs"][0]["costs"] = {"size_bytes": 73_400, "latency_ms": {"1": {"median": 0.4123, "p95": 0.5}}}
    check_comparison(found)
    assert "0.412 ms" in comparison_text(found)
    lines = Page(render_comparison(found)).table("Size on disk")
    assert [line[-2:] for line in lines] == [["73.4 kB", "0.412 ms"], ["–", "–"]]


@pytest.mark.slow
def test_a_comparison_imports_no_torch(two):
    code = (
        "import sys, pathlib; from kdrecipes.report.compare import compare_runs;"
        "compare_runs([pathlib.Path(one) for one in sys.argv[1:]]); assert not {'torch', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *map(str, two)], check=True, timeout=100)


def test_students_are_found_by_seed(two):
    run = ComparedRun(two[0], {}, read_facts(two[0]), np.arange(IMAGES))
    assert list(run.students("kd")) == [0] and run.right("kd")[0].sum() == 30


def test_the_schema_promises_no_other_keys(two):
    import jsonschema

    found = json.loads(json.dumps(compare_runs(two)))
    with pytest.raises(jsonschema.ValidationError):
        check_comparison({**found, "more": 1})
