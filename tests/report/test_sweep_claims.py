"""A sweep's page and text claim no more than was measured: of one seed, of a lead, of other validation images."""

from __future__ import annotations

import numpy as np
import pytest
from invented_sweep import grid, sweep
from test_sweep_page import UNDONE, rendered, words

from kdrecipes.report.intervals import accuracy_over_images, over_seeds
from kdrecipes.report.sweep_lead import lead_of, leading_words
from kdrecipes.report.sweep_page import render_sweep
from kdrecipes.report.sweep_results import ranked
from kdrecipes.report.sweep_table import sweep_text

WIDTHS = {"student__width": [4, 8, 16]}
LABELS = np.arange(200) % 4


def confirmed(seeds):
    """A sweep whose best point was confirmed with so many seeds."""
    given = sweep(grid(**WIDTHS), seeds=seeds, confirmed=1)
    [one] = given["confirmed"]
    one["seeds"] = list(range(3, 3 + seeds))
    over = "test images" if seeds == 1 else "seeds"
    one["kd_minus_baseline"] |= {"seeds": seeds, "ci95_over": over, "ci95": None if seeds == 2 else [0.002, 0.0206]}
    return given


def test_one_confirming_seed_tells_of_two_students_and_not_of_distillation():
    given = confirmed(1)
    seen = rendered(given)
    [row] = seen.table("Test accuracy, %")
    assert row[-2:] == ["seed 3", "of these two students the distilled one is better"]
    for told in (words(seen), sweep_text(given)):
        assert "95% intervals over the test images of the seed" in told
        assert "One seed says nothing about distillation in general: a sweep with --seeds 0,1,2 confirms" in told
    assert "of these two students the distilled one is better" in sweep_text(given)


def test_several_confirming_seeds_tell_of_distillation():
    given = confirmed(3)
    seen = rendered(given)
    assert seen.table("Test accuracy, %")[0][-2:] == ["seeds 3, 4, 5", "distilled is better"]
    for told in (words(seen), sweep_text(given)):
        assert "95% intervals over seeds." in told and "One seed says nothing" not in told
    assert "seeds 3, 4, 5" in sweep_text(given) and "distilled is better" in sweep_text(given)
    assert "Two seeds are too few for intervals." in sweep_text(confirmed(2))


def test_each_confirmed_point_has_a_link_to_its_report():
    given = sweep(grid(**WIDTHS), confirmed=2)
    links = [value for name, value in rendered(given).attributes if name == "href"]
    assert links == [f"{one['run']}/report.html" for one in given["confirmed"]]


def stored(folder, point, right, index=None):
    """A point's validation.npz, by whose students so many of the images are named right, for each seed."""
    path = folder / "points" / point
    path.mkdir(parents=True)
    logits = {
        f"kd-{seed}": np.eye(4)[np.where(np.arange(200) < count, LABELS, (LABELS + 1) % 4)]
        for seed, count in enumerate(right)
    }
    index = np.arange(200) if index is None else index
    np.savez(path / "validation.npz", labels=LABELS, index=index, **logits, **{"baseline-0": np.eye(4)[LABELS]})


@pytest.mark.parametrize(("ahead", "apart"), [(3, True), (60, False)])
def test_the_lead_of_the_best_point_has_its_paired_interval(tmp_path, ahead, apart):
    given = sweep(grid(**WIDTHS))
    best, second, _ = done = ranked(given["points"])
    stored(tmp_path, best["point"], [100 + ahead])
    stored(tmp_path, second["point"], [100])
    lead = lead_of(tmp_path, done)
    assert lead["ci95"] == accuracy_over_images(np.arange(200) < 100 + ahead, np.arange(200) < 100)
    assert lead["mean"] == pytest.approx(ahead / 200) and lead["ci95_over"] == "validation images"
    told = leading_words(given, done, lead)
    assert told.startswith(f"Best by validation accuracy: point {best['point']}, ")
    if apart:
        lead["ci95"] = [-0.001, 0.02]
        told = leading_words(given, done, lead)
        assert told.endswith("(95% interval −0.10 to +2.00 over validation images): the two can’t be told apart.")
    else:
        assert "can’t be told apart" not in told and "over validation images)." in told
    assert told in words(rendered_with(given, lead))


def rendered_with(given, lead):
    from test_html import Page

    return Page(render_sweep(given, lead))


def test_the_lead_over_three_seeds_has_a_t_interval(tmp_path):
    done = ranked(sweep(grid(**WIDTHS), seeds=3)["points"])
    stored(tmp_path, done[0]["point"], [101, 102, 103])
    stored(tmp_path, done[1]["point"], [100, 100, 100])
    assert lead_of(tmp_path, done)["ci95"] == pytest.approx(over_seeds([1 / 200, 2 / 200, 3 / 200]))


def test_a_lead_that_no_pairs_tell_is_said_to_be_so(tmp_path):
    given = sweep(grid(**WIDTHS))
    done = ranked(given["points"])
    assert lead_of(tmp_path, done) is None and lead_of(tmp_path, done[:1]) is None
    stored(tmp_path, done[0]["point"], [101])
    stored(tmp_path, done[1]["point"], [100], index=np.arange(200) + 1)  # other images
    assert lead_of(tmp_path, done) is None
    assert leading_words(given, done).endswith("no paired interval is there to tell whether by more than chance.")
    two = sweep(grid(**WIDTHS), seeds=2)
    assert leading_words(two, ranked(two["points"])).endswith("; two seeds are too few for an interval.")


def test_first_is_the_point_that_was_listed_first_and_the_best_is_called_the_best():
    given = sweep(grid(**WIDTHS), confirmed=1)
    text = words(rendered(given))
    assert "Minus point 000, points" in text and "first point" not in text and "the second" in text
    assert "minus point 000" in sweep_text(given).splitlines()[0]


def test_points_of_other_validation_images_are_told_with_what_follows():
    given = sweep(grid(dataset__validation=[0.1, 0.2, 0.3]))
    for point in given["points"][1:]:
        point["kd_minus_first"] = None
    for told in (words(rendered(given)), sweep_text(given)):
        assert (
            "Points 001, 002 were measured on other validation images than point 000, so “minus point 000” is" in told
        )
        assert "Ranks compare different images here" in told
    given["points"][1]["kd_minus_first"] = given["points"][1]["kd_minus_baseline"]
    assert "Point 002 was measured on other" in sweep_text(given)
    assert "different images" not in words(rendered(sweep(grid(**WIDTHS))))


def test_where_the_first_point_failed_nothing_explains_a_column_that_is_not_there():
    given = sweep(grid(**WIDTHS))
    given["points"][0] |= {**UNDONE, "status": "failed", "message": "Out of memory."}
    for point in given["points"]:
        point["kd_minus_first"] = None
    for told in (words(rendered(given)), sweep_text(given)):
        assert "inus point 000" not in told and "other validation images" not in told
        assert "Point 000 has no result, so no point is compared with it." in told
    bare = sweep(grid(**WIDTHS), baseline=False)
    assert "inus labels only" not in words(rendered(bare)) + sweep_text(bare)
