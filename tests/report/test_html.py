"""report.html: complete, harmless, the same for the same run."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from invented import facts_of, run

from kdrecipes.report import html as page
from kdrecipes.report.charts import charts_of
from kdrecipes.report.table import table_rows
from kdrecipes.report.verdict import loss_and_calibration, verdict

HOSTILE = [
    '<script>alert("a")</script>',
    "$x_1$ & $\\frac{1}{2}$",
    "'\"><img src=x onerror=y>",
    "🐈 猫\n\udcff",
    "{{ 7 * 7 }}",
]


class Page(HTMLParser):
    """Tags, attributes, texts and the cells of each table."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.tags, self.attributes, self.open = "", [], [], []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br", "path", "use", "rect"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        data = data.replace("\u00a0", " ")
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, heading: str) -> list[list[str]]:
        """The lines under the heading line that holds `heading`."""
        return next(table[1:] for table in self.tables if heading in table[0])


def rendered(given: dict[str, Any]) -> Page:
    text = page.render(given["report"], facts_of(given))
    seen = Page(text)
    assert seen.open == []
    assert not {"img", "link", "iframe", "object", "foreignobject"} & set(seen.tags)
    assert seen.tags.count("script") == 1
    [script] = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert ("content", policy) in seen.attributes
    for name, value in seen.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "xlink:href") or str(value).startswith("#")
    assert "http" not in text.replace("http-equiv", "")
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert verdict(given["report"]) in seen.text and loss_and_calibration(given["report"]) in seen.text
    return seen


def test_a_page_of_one_seed_has_intervals_over_test_images():
    seen = rendered(run())
    assert [line[0] for line in seen.table("Macro F1, %")] == [
        "teacher (cnn)",
        "student, labels only",
        "student, distilled",
    ]
    assert seen.table("Macro F1, %")[0][1:] == ["87.50", "43.21", "6.78", "1.234", "–", "12,345", "2 h 3 min"]
    assert seen.table("Macro F1, %")[2][1:] == ["50.00", "43.21", "6.78", "1.234", "67.89", "12,345", "5.0 s"]
    row = ["distilled − labels only", "−1.25", "−1.00 to +4.25", "1.7", "this run can’t tell"]
    assert seen.table("95% interval over test images")[0] == row
    row = ["distilled − teacher", "−0.021", "−0.030 to −0.012", "+0.40", "−0.10 to +0.90"]
    assert seen.table("ECE, points")[1] == row
    assert "Where all of it lies within ±0.2 points, the two are practically the same." in " ".join(seen.text.split())
    assert seen.table("p")[1] == ["distilled, teacher", "0", "12", "1,034", "0.25"]
    assert seen.table("Best epoch")[1] == ["student, distilled", "0", "3", "33.33", "2", "44.44"]
    assert seen.tags.count("svg") == 7  # classes, three networks' confidence, three over epochs
    assert "An invented run." in seen.text and 'name = "sample"\n' in seen.text
    assert "Warnings" not in seen.text


def test_a_page_of_three_seeds_has_means_and_spreads():
    given = run(seeds=3)
    seen = rendered(given)
    accuracies = [line[1] for line in seen.table("Macro F1, %")]
    assert accuracies == ["87.50", "51.00 ± 1.00", "51.00 ± 1.00"]
    assert [line[0] for line in seen.table("Macro F1, %")] == [row["who"] for row in table_rows(given["report"])]
    assert len(seen.table("p")) == len(seen.table("Best epoch")) == 6
    assert "Strong lines: means over 3 seeds." in seen.text


def test_two_seeds_have_no_interval():
    seen = rendered(run(seeds=2))
    assert seen.table("Could have seen, points")[0][1:] == ["−1.25", "–", "–", "this run can’t tell"]
    assert seen.table("ECE, points")[0][1:] == ["−0.021", "–", "+0.40", "–"]
    assert "two seeds are too few for an interval" in seen.text


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("helped", "distilled is better"),
        ("hurt", "distilled is worse"),
        ("same", "practically the same"),
        ("unclear", "this run can’t tell"),
    ],
)
def test_each_comparison_has_its_verdict(word, shown):
    given = run()
    given["report"]["comparison"]["kd_minus_teacher"]["verdict"] = word
    assert [line[-1] for line in rendered(given).table("Verdict")] == ["this run can’t tell", shown]


def test_a_margin_of_nothing_is_not_spoken_of():
    given = run()
    for found in given["report"]["comparison"].values():
        found["margin"] = 0.0
    assert "practically" not in rendered(given).text


def test_a_page_without_a_teacher_says_nothing_of_one():
    seen = rendered(run(teacher=False))
    assert [line[0] for line in seen.table("Macro F1, %")] == ["student, labels only"]
    assert "McNemar" not in seen.text and "taught by" not in seen.text and "Agreement" not in seen.text
    assert "What the student confuses" in seen.text


def test_a_page_of_several_teachers_speaks_of_each_and_of_all_together():
    given = run(several=True)
    seen = rendered(given)
    rows = seen.table("Macro F1, %")
    assert [row[:2] for row in rows[:3]] == [
        ["teacher cnn", "87.50"],
        ["teacher wide (vit)", "87.50"],
        ["all 2 teachers together", "93.75"],
    ]
    assert [row[5] for row in rows[:3]] == ["90.00", "80.00", "–"]
    assert "taught by cnn, vit" in seen.text and "Agreement with the teachers together, %" in seen.text
    assert seen.table("95% interval over test images")[1][0] == "distilled − teachers together"
    assert "Teacher wide" in seen.text and "Each teacher has a line of its own." in seen.text
    assert "The outputs of wide were computed once for all distilled students, in 8.0 s." in seen.text
    assert "The distilled student’s includes those of cnn." in seen.text


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([], ""),
        ([None], "The distilled student’s includes the teacher’s outputs."),
        ([0.0], "The teacher’s outputs were computed once for all distilled students, by an earlier run."),
        ([1.0, 2.5], "The teachers’ outputs were computed once for all distilled students, in 3.5 s."),
        ([None, None], "The distilled student’s includes the teachers’ outputs."),
    ],
)
def test_who_pays_for_the_outputs_is_said(outputs, words):
    teachers = [{"id": str(i), "seconds": {"outputs": one}} for i, one in enumerate(outputs)]
    assert page.outputs_words(teachers) == words


ONCE = "were computed once for all distilled students, in less than 0.1 s."
ALSO = "In every step {} ran as well, for what layers give: the distilled student’s includes that."


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"a": "both"}, f"The teacher’s outputs {ONCE} {ALSO}"),
        ({"a": "steps", "b": "never"}, "The distilled student’s includes the outputs of a. No term heard b."),
        (
            {"a": "both", "b": "once", "c": "steps", "d": "never"},
            f"The outputs of a, b {ONCE} The distilled student’s includes those of c. {ALSO} No term heard d.",
        ),
    ],
)
def test_what_each_teacher_was_asked_is_said(asked, words):
    seconds = {"once": 0.01, "both": 0.01}
    teachers = [{"id": name, "asked": how, "seconds": {"outputs": seconds.get(how)}} for name, how in asked.items()]
    assert page.outputs_words(teachers) == words.format("the teacher" if len(asked) == 1 else "a")


def test_the_matrix_holds_shares_of_each_true_class():
    given = run(names=["a", "b"])
    given["labels"] = np.array([0, 0, 0, 1])
    given["logits"] = {label: np.eye(2)[[0, 1, 0, 1]] for label in given["logits"]}
    seen = rendered(given)
    assert seen.table("named →true ↓") == [["a", "67", "33"], ["b", "", "100"]]
    assert seen.table("Named") == [["a", "b", "1", "33.3", "33.3", "33.3"]]


def test_many_classes_have_a_table_of_confusions_instead_of_the_matrix():
    seen = rendered(run(names=101))
    assert "named →true ↓" not in seen.text
    pairs = seen.table("Named")
    assert len(pairs) == 15
    assert [int(line[2]) for line in pairs] == sorted((int(line[2]) for line in pairs), reverse=True)


def test_a_page_without_confusions_and_history_has_no_charts():
    given = run()
    given["logits"] = {label: np.eye(4)[given["labels"]] for label in given["logits"]}
    given["rows"] = []
    seen = rendered(given)
    assert "It named every test image right." in seen.text
    assert not {("id", "validation_accuracy"), ("id", "label_loss")} & set(seen.attributes)


@pytest.mark.slow
def test_every_value_of_the_recipe_is_there_with_its_origin():
    assert '[student]\nname = "cnn"  # base.toml:7\n' in rendered(run()).text


def test_text_from_outside_stays_text():
    given = run(names=HOSTILE)
    words = "".join(HOSTILE)
    given["recipe"].text = f"\n{words}"
    given["recipe"].source = given["recipe"].data["description"] = given["recipe"].data["student"]["name"] = words
    given["recipe"].overrides = (words, words)
    report = given["report"]
    report["warnings"] = [words, "Second."]
    report["command"] = report["name"] = report["dataset"]["name"] = report["teachers"][0]["component"] = words
    report["environment"].update(git={"commit": words, "dirty": True}, device_name=words, cpus=2, added=[words])
    report["arms"][0]["student"] = words
    seen = rendered(given)
    shown = words.replace("\udcff", r"\xff")
    assert seen.text.count(shown) >= 13
    assert [line[0] for line in seen.table("named →true ↓")] == [name.replace("\udcff", r"\xff") for name in HOSTILE]
    assert "Warnings" in seen.text and "Second." in seen.text


@pytest.mark.slow
def test_the_same_run_gives_the_same_page_whatever_matplotlib_is_set_to():
    import matplotlib

    given = run(seeds=3)
    kept = copy.deepcopy(given["report"])
    first = page.render(given["report"], facts_of(given))
    with matplotlib.rc_context({"svg.fonttype": "path", "axes.facecolor": "red", "font.size": 30}):
        assert page.render(given["report"], facts_of(given)) == first
        assert matplotlib.rcParams["font.size"] == 30
    assert given["report"] == kept


def test_every_chart_is_there_in_words_and_in_numbers():
    given = run(seeds=3)
    seen = rendered(given)
    attributes = dict.fromkeys(value for name, value in seen.attributes if name == "aria-label")
    for chart in charts_of(given["report"], facts_of(given)).all:
        assert f"{chart.title}. {chart.said}" in attributes
        assert ("id", chart.name) in seen.attributes
        assert [list(chart.headings), *map(list, chart.lines)] in [
            [[cell or "Network" for cell in line] for line in table] for table in seen.tables
        ] or chart.headings[0] == ""


def test_a_table_that_may_be_sorted_has_headings_in_words():
    seen = rendered(run(seeds=3))
    assert seen.attributes.count(("class", "sortable")) >= 8
    assert all(cell.strip() for table in seen.tables for cell in table[0])


@pytest.mark.slow
def test_students_that_did_not_train_alike_are_said_to_be_so_beside_the_classes():
    given = run()
    words = "these differences are not what the teacher gave"
    assert words not in rendered(given).text
    given["report"]["arms"][1]["steps"] = 20
    assert words in rendered(given).text
