"""sweep.html: what a sweep found, chosen by validation, said no stronger than it is; made from sweep.json alone."""

from __future__ import annotations

import copy
import json

import pytest
from invented_sweep import grid, losses, sweep
from test_html import Page

from kdrecipes.errors import UsageError
from kdrecipes.report.drawing import files_of, our_style
from kdrecipes.report.heat_map import heat_map
from kdrecipes.report.sweep_charts import sweep_chart
from kdrecipes.report.sweep_page import render_sweep, write_sweep_page
from kdrecipes.report.sweep_words import columns_of, point_words, short_words, value_words

TWO_KEYS = {"loss__temperature": [1.0, 2.0, 4.0], "loss__weight": [0.3, 0.9]}
UNDONE = {"rank": None, "validation_accuracy": None, "kd_minus_baseline": None, "kd_minus_first": None}


def rendered(given):
    text = render_sweep(given)
    assert "http" not in text.replace("http-equiv", "") and "default-src 'none'" in text
    seen = Page(text)
    assert seen.open == [] and seen.tags.count("script") == 1
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    return seen


def words(seen):
    return " ".join(seen.text.split())


def test_points_stand_in_the_order_of_validation_with_differences_and_intervals():
    given = sweep(grid(**TWO_KEYS), seeds=3)
    lines = rendered(given).table("Rank")
    assert [line[0] for line in lines] == list("123456")
    best = next(point for point in given["points"] if point["rank"] == 1)
    assert lines[0][1] == best["point"]
    assert lines[0][3:5] == [value_words(value) for value in best["changes"].values()]
    mean, sd = (100 * best["validation_accuracy"][key] for key in ("mean", "sd"))
    assert lines[0][2] == f"{mean:.2f} ± {sd:.2f}"
    gain = 100 * best["kd_minus_baseline"]["mean"]
    assert lines[0][5].startswith(f"{gain:+.2f} ({gain - 1.1:+.2f} to ".replace("-", "−"))
    [first] = [line for line in lines if line[1] == "000"]
    assert first[6:] == ["–", "52 s", "6 of 6"]


def test_the_reader_is_told_that_the_best_of_many_may_be_so_by_chance():
    given = sweep(grid(**TWO_KEYS))
    text = words(rendered(given))
    assert (
        "often looks better than it is, because chance may have lifted it there" in text
        and "No point was measured on test" in text
    )
    assert "Confirmed: measured on test" not in text


def test_confirmed_points_alone_have_test_figures():
    given = sweep(grid(**TWO_KEYS), confirmed=2)
    seen = rendered(given)
    lines = seen.table("Test accuracy, %")
    assert [line[0] for line in lines] == ["1", "2"]
    assert lines[0][2] == "83.14"
    assert lines[0][4:] == ["82.01", "+1.13 (+0.20 to +2.06)", "seeds 1000, 1001, 1002", "distilled is better"]
    assert "confirm/" in seen.text and "No point was measured on test" not in seen.text


def test_two_keys_have_a_heat_map_whose_strongest_cell_is_the_best():
    given = sweep(grid(**TWO_KEYS))
    seen = rendered(given)
    lines = seen.table("loss.weight →loss.temperature ↓")
    assert [line[0] for line in lines] == ["1", "2", "4"]
    shown = {float(cell) for line in lines for cell in line[1:]}
    assert shown == {round(100 * point["validation_accuracy"]["mean"], 2) for point in given["points"]}
    cells = [cell for line in heat_map(given["points"]).lines for cell in line["cells"]]
    [best] = [cell for cell in cells if cell["best"]]
    assert best["point"]["rank"] == 1 and best["strength"] == 1.0 == max(cell["strength"] for cell in cells)
    assert min(cell["strength"] for cell in cells) > 0
    assert "svg" not in seen.tags


def test_a_cell_of_the_heat_map_without_a_result_says_why():
    given = sweep(grid(**TWO_KEYS))
    given["points"][3] |= {**UNDONE, "status": "failed", "message": "Out of memory."}
    del given["points"][5]
    seen = rendered(given)
    cells = [cell for line in seen.table("loss.weight →loss.temperature ↓") for cell in line[1:]]
    assert cells.count("failed") == 1 and cells.count("–") == 1


def test_words_are_an_axis_of_the_heat_map_in_the_order_in_which_they_came():
    found = heat_map(sweep(grid(loss__name=["kd", "dist"], loss__weight=[0.9, 0.3, 0.5]))["points"])
    assert (found.down, found.across, found.columns) == ("loss.weight", "loss.name", ["kd", "dist"])
    assert [line["name"] for line in found.lines] == ["0.3", "0.5", "0.9"]


@pytest.mark.parametrize(
    "changes",
    [
        losses(6),
        grid(loss__temperature=[1.0, 2.0]),
        grid(loss__temperature=[1.0, 2.0], loss__weight=[0.3]),
        [{"loss.temperature": float(i), "loss.weight": i / 10} for i in range(6)],
        grid(loss__temperature=[1.0, 2.0], loss__weight=[0.3, 0.9], student__width=[4, 8]),
    ],
    ids=["tables", "one key", "one value of a key", "few of the pairs", "three keys"],
)
def test_what_is_no_full_table_of_two_keys_has_no_heat_map(changes):
    assert heat_map(sweep(changes)["points"]) is None


def test_one_number_is_drawn_as_lines_with_the_interval_of_the_difference():
    given = sweep(grid(loss__temperature=[8.0, 1.0, 20.0]), seeds=3)
    chart = sweep_chart(given)
    assert chart.headings == ["loss.temperature", "Labels only, %", "Distilled, %", "95% interval as drawn"]
    assert [line[0] for line in chart.lines] == ["1", "8", "20"]
    point = given["points"][1]
    mean = 100 * point["validation_accuracy"]["mean"]
    assert chart.lines[0] == ["1", "81.20", f"{mean:.2f}", f"{mean - 1.1:.2f} to {mean + 1.1:.2f}"]
    assert "over seeds of distilled − labels only" in chart.note
    assert set(files_of(chart)) == {"along.svg", "along.png"}
    assert rendered(given).tags.count("svg") == 1


def test_an_axis_over_whole_numbers_has_whole_numbers_alone():
    for values, whole in (([4, 5, 6], True), ([4, 8], True), ([0.1, 0.2], False)):
        chart = sweep_chart(sweep(grid(student__width=values)))
        with our_style():
            [axes] = chart.draw().axes
        assert all(tick == int(tick) for tick in axes.get_xticks()) == whole


def test_one_number_without_labels_only_students_is_drawn_with_the_intervals_of_accuracies():
    for seeds, ends in ((1, True), (2, False), (3, True)):
        chart = sweep_chart(sweep(grid(dataset__labelled=[100, 1000]), seeds=seeds, baseline=False))
        assert chart.headings == ["dataset.labelled", "Distilled, %", "95% interval as drawn"]
        assert all((line[2] != "–") == ends for line in chart.lines)
    assert "of distilled − labels only" not in chart.note


def test_points_that_replace_tables_have_a_bar_each_and_short_names():
    chart = sweep_chart(sweep(losses(20), kind="points"))
    assert chart.name == "points" and len(chart.lines) == 20
    assert {line[0] for line in chart.lines} >= {"dkd temperature=1", "dkd temperature=2"}
    figures = [float(line[1].replace("−", "-")) for line in chart.lines]
    assert figures == sorted(figures, reverse=True)


def test_of_many_points_the_first_forty_are_drawn_and_all_are_in_the_table():
    given = sweep(losses(50), kind="points", seeds=2)
    chart = sweep_chart(given)
    assert len(chart.lines) == 40 and "The best 40 of 50 points" in chart.note
    assert "Two seeds are too few for intervals." in chart.note
    assert len(rendered(given).table("Rank")) == 50


def test_points_without_labels_only_students_are_drawn_by_their_accuracy():
    chart = sweep_chart(sweep(losses(3), kind="points", baseline=False))
    assert chart.title == "Validation accuracy of each point"
    assert all(70 < float(line[1]) < 95 for line in chart.lines)
    assert files_of(chart)


def test_points_without_a_result_stand_below_with_their_messages():
    given = sweep(losses(4), kind="points")
    given["status"] = "failed"
    given["points"][2] |= {**UNDONE, "status": "failed", "message": "The term <crd> needs a layer."}
    given["points"][1] |= {**UNDONE, "status": "pruned"}
    seen = rendered(given)
    lines = seen.table("Standing")
    assert [(line[0], line[2], line[3]) for line in lines] == [
        ("001", "pruned", "–"),
        ("002", "failed", "The term <crd> needs a layer."),
    ]
    assert "1 of 4 points failed." in seen.text and len(seen.table("Rank")) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("running", "This sweep is running: 1 of 3 points are done. What stands here can change."),
        ("stopped", "This sweep was stopped: 1 of 3 points are done. The same command goes on."),
    ],
)
def test_a_sweep_that_has_not_ended_says_how_far_it_came(status, said):
    given = sweep(losses(3), kind="points")
    given["status"] = status
    for point in given["points"][1:]:
        point |= {**UNDONE, "status": "waiting"}
    assert said in words(rendered(given))


def test_a_sweep_without_any_result_has_a_page_all_the_same():
    given = sweep(losses(2), kind="points")
    given |= {"status": "running", "dataset": None}
    for point in given["points"]:
        point |= {**UNDONE, "status": "waiting"}
    assert "No point is done yet." in rendered(given).text


def test_the_importance_of_keys_stands_with_a_search():
    given = sweep(grid(**TWO_KEYS, student__width=[4, 8]), kind="search")
    lines = rendered(given).table("Share, %")
    assert [line[:2] for line in lines] == [["loss.temperature", "70"], ["loss.weight", "35"], ["student.width", "23"]]
    assert "chosen by a search" in rendered(given).text


def test_what_it_took_is_told():
    text = words(rendered(sweep(grid(**TWO_KEYS))))
    assert "9 of 7 students trained; without sharing there would be 12" in text and "21 min" in text


def test_text_from_outside_stays_text_on_the_page_of_a_sweep():
    given = sweep(losses(3), kind="points")
    hostile = "<script>alert(1)</script>$x_1$ {{ 7 * 7 }}\udcff"
    given["name"] = given["command"] = given["dataset"]["name"] = hostile
    given["points"][0] |= {**UNDONE, "status": "failed", "message": hostile}
    for point in given["points"]:
        point["changes"] = {"loss": {"name": hostile}}
    assert rendered(given).text.count(hostile.replace("\udcff", r"\xff")) >= 8


def test_the_page_is_written_from_sweep_json_alone_and_is_the_same_each_time(tmp_path):
    given = sweep(grid(loss__temperature=[1.0, 2.0, 4.0]))
    (tmp_path / "sweep.json").write_text(json.dumps(given))
    write_sweep_page(tmp_path)
    first = (tmp_path / "sweep.html").read_bytes()
    kept = copy.deepcopy(given)
    assert render_sweep(given) == first.decode() and given == kept


def test_a_page_of_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"there is no sweep\.json"):
        write_sweep_page(tmp_path)


def test_values_are_written_as_short_as_they_can_be_told_apart():
    value = [{"name": "kd", "temperature": 4.0}, {"name": "dist"}]
    assert value_words(value) == "kd temperature=4 + dist"
    loss = {"label_weight": 0.0, "terms": [{"name": "kd"}, {"student_layers": ["a"], "name": "hint", "weight": 100.0}]}
    assert value_words(loss) == "kd + hint weight=100 student_layers=a label_weight=0"
    assert [value_words(one) for one in (1.0, 0.1, True, "auto", [], {})] == [
        *("1", "0.1", "true", "auto", "empty", "empty")
    ]
    points = sweep([{"a": 1}, {"b": 2}])["points"]
    assert columns_of(points) == [] and columns_of(points[:1]) == ["a"]
    assert short_words(points[0], shared=False) == point_words(points[0]) == "a=1"
    assert point_words(sweep([{}])["points"][0]) == "the recipe as it is"


def test_points_that_replace_tables_tell_each_table_in_a_column():
    lines = rendered(sweep(losses(3), kind="points")).table("loss")
    assert {line[3] for line in lines} == {"kd temperature=1", "dkd temperature=1", "dist temperature=1"}
