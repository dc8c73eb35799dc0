"""sweep.json: what its schema promises, how points are ranked and compared."""

import json

import numpy as np
import pytest
from jsonschema import ValidationError

from kdrecipes.errors import UsageError
from kdrecipes.report.intervals import accuracy_over_images, over_seeds
from kdrecipes.report.sweep_results import accuracy_of, check_sweep, difference, rank, ranked, read_sweep

RIGHT = np.array([True, True, True, False])
OTHER = np.array([True, False, False, False])


def point(name, mean, status="done"):
    done = status == "done"
    accuracy = {"mean": mean, "sd": None, "seeds": [{"seed": 0, "kd": mean, "baseline": None}]} if done else None
    return {
        "point": name,
        "changes": {"loss.temperature": 1.0},
        "label": "loss.temperature=1.0",
        "status": status,
        "message": None if done else "why",
        "recipe_sha256": "0" * 64,
        "rank": None,
        "validation_accuracy": accuracy,
        "kd_minus_baseline": None,
        "kd_minus_first": None,
        "arms_trained": 1,
        "arms_shared": 0,
        "seconds": 1.5,
    }


def sweep(*points):
    return {
        "schema_version": 1,
        "name": "digits",
        "status": "done",
        "command": "kdrecipes sweep digits",
        "recipe_sha256": "0" * 64,
        "kind": "grid",
        "swept": ["loss.temperature"],
        "seeds": [0],
        "dataset": {"name": "digits", "fingerprint": "0" * 64, "classes": 10, "train": 8, "validation": 4},
        "points": list(points),
        "importance": None,
        "confirmed": [],
        "trainings": {"without_sharing": 2, "planned": 2, "done": 2},
        "seconds": 3.0,
        "environment": {"versions": {}, "device": "cpu", "threads": 1},
    }


def test_points_are_ranked_by_validation_and_equal_ones_share_the_better_rank():
    points = [point("000", 0.5), point("001", 0.75), point("002", 0.75), point("003", 0.9, "failed"), point("004", 0.1)]
    rank(points)
    assert [one["rank"] for one in points] == [3, 1, 1, None, 4]
    assert [one["point"] for one in ranked(points)] == ["001", "002", "000", "004"]


def test_a_points_accuracy_is_that_of_its_distilled_students():
    found = accuracy_of({0: RIGHT, 3: OTHER}, {0: OTHER, 3: OTHER})
    assert found["mean"] == 0.5
    assert found["sd"] == pytest.approx(np.sqrt(0.125))  # of 0.75 and 0.25
    assert found["seeds"] == [{"seed": 0, "kd": 0.75, "baseline": 0.25}, {"seed": 3, "kd": 0.25, "baseline": 0.25}]


def test_without_a_teacher_a_points_accuracy_is_that_of_its_labels_only_students():
    assert accuracy_of({}, {0: RIGHT}) == {
        "mean": 0.75,
        "sd": None,
        "seeds": [{"seed": 0, "kd": None, "baseline": 0.75}],
    }


def test_one_seed_is_compared_over_images_three_over_seeds_and_two_have_no_interval():
    images = accuracy_over_images(RIGHT, OTHER)
    one = difference({0: RIGHT}, {0: OTHER})
    assert one == {
        "mean": 0.5,
        "ci95": images,
        "ci95_over": "validation images",
        "seeds": 1,
    }
    two = difference({0: RIGHT, 1: RIGHT}, {0: OTHER, 1: RIGHT})
    assert two == {"mean": 0.25, "ci95": None, "ci95_over": "seeds", "seeds": 2}
    three = difference(dict.fromkeys(range(3), RIGHT), {0: OTHER, 1: RIGHT, 2: OTHER})
    assert three["ci95"] == over_seeds([0.5, 0.0, 0.5]) and three["ci95_over"] == "seeds"


def test_students_are_paired_by_seed_and_by_image():
    assert difference({0: RIGHT, 1: OTHER}, {1: RIGHT})["mean"] == -0.5
    assert difference({0: RIGHT}, {1: RIGHT}) is None
    assert difference({0: RIGHT}, {0: RIGHT[:3]}) is None


def test_a_sweep_fits_its_schema_and_is_read_again(tmp_path):
    whole = sweep(point("000", 0.5), point("001", 0.4, "failed"))
    (tmp_path / "sweep.json").write_text(json.dumps(whole))
    assert read_sweep(tmp_path) == whole
    with pytest.raises(ValidationError):
        check_sweep({**whole, "test_accuracy": 0.5})


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "holds no sweep"), ("{", "can't be read"), ("{}", "is no sweep of this version")],
    ids=["missing", "damaged", "other"],
)
def test_what_is_no_sweep_is_refused_in_words(tmp_path, text, told):
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_sweep(tmp_path)
