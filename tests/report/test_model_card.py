"""MODEL_CARD.md: what Hugging Face's own reader makes of it, what it says and what it does not claim."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from test_html import HOSTILE, facts_of, run

from kdrecipes.disk.saved_facts import SavedFacts
from kdrecipes.report import model_card as module
from kdrecipes.report.markdown import fenced, inline, scalar
from kdrecipes.report.model_card import CardFiles, chosen_student, model_card, wilson
from kdrecipes.report.verdict import against_teacher, loss_and_calibration, verdict

SAVED = SavedFacts(["a", "b", "c", "d"], 32, "crop", 64, "cnn", {}, "0" * 64, [255, 255, 255], 10**6)


def card_of(given, label=None, saved=SAVED, files=None):
    facts = facts_of(given)
    label = label or chosen_student(facts)
    files = files or CardFiles(facts.arms[label].student)
    return model_card(given["report"], facts, label, saved, files)


def shown(text):
    """Markdown in a sentence as a reader sees it: backslashes and entities undone."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Hugging Face's reader warns of a head that it does not understand."""
    yield
    assert "metadata" not in caplog.text


@pytest.mark.parametrize(("seeds", "teacher", "several"), [(1, True, False), (3, True, True), (2, False, False)])
def test_hugging_faces_reader_finds_the_students_figures(tmp_path, seeds, teacher, several):
    given = run(seeds, teacher, several=several)
    text = card_of(given)
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    head = metadata_load(tmp_path / "README.md")
    assert head["library_name"] == "keras" and head["pipeline_tag"] == "image-classification"
    assert "license" not in head and "kdrecipes" in head["tags"]
    assert ("knowledge-distillation" in head["tags"]) == teacher, "no tag that a student on labels does not earn"
    data = ModelCard(text).data
    arm = next(row for row in given["report"]["arms"] if row["arm"] == ("kd" if teacher else "baseline"))
    told = {result.metric_type: result.metric_value for result in data.eval_results}
    assert told == {"accuracy": arm["test_accuracy"], "f1": 0.4321, "loss": 1.2345, "ece": 0.0678}
    assert {(r.dataset_name, r.dataset_split, r.task_type) for r in data.eval_results} == {
        ("digits", "test", "image-classification")
    }
    assert eval_results_to_model_index(data.model_name, data.eval_results) == head["model-index"]


def test_only_a_dataset_that_the_hub_is_known_to_have_is_linked():
    given = run()
    assert "datasets" not in ModelCard(card_of(given)).data.to_dict()
    given["report"]["dataset"]["name"] = "fashion_mnist"
    assert ModelCard(card_of(given)).data.datasets == ["zalando-datasets/fashion_mnist"]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_card_claims_what_the_report_does_and_no_more(seeds):
    given = run(seeds)
    report = given["report"]
    body = shown(card_of(given))
    for sentence in (verdict(report), against_teacher(report), loss_and_calibration(report)):
        assert sentence in body
    rest = body.replace(verdict(report), "").replace(given["recipe"].text, "")
    assert not re.search(r"improve|better than|outperform|helped|gain|state of the art", rest)


def test_a_card_says_what_the_student_is_and_what_it_takes():
    body = card_of(run())
    assert "a student (cnn), distilled from a teacher (cnn)" in body
    for row in (
        "| parameters | 12,345 |",
        "| input | RGB pixels, 0–255: (batch, 32, 32, 3) |",
        "| an image becomes that by | crop: 64 × 64 pixels, then 32 × 32 pixels, bilinear |",
        "| output | logits: (batch, 4) |",
    ):
        assert row in body
    assert "Classes, in the order of the outputs: class 0, class 1, class 2, class 3." in body
    assert 'kdrecipes.load_student("students/kd-0.keras")' in body
    assert "```sh\nkdrecipes run sample.toml\n```" in body and '```toml\nname = "sample"\n```' in body


def test_a_card_of_a_student_whose_file_says_nothing_leaves_its_input_out():
    body = card_of(run(), saved=None)
    assert "| input |" not in body and "| parameters | 12,345 |" in body


def test_what_the_networks_cost_is_told_where_it_was_measured():
    given = run()
    assert "cost to run" not in card_of(given)
    times = {"1": {"median": 1.25, "p95": 2.5, "rounds": 9}, "32": {"median": 20.0, "p95": 31.0, "rounds": 9}}
    measured = {"size_bytes": 57_000, "multiply_adds": 1_234_567, "latency_ms": times, "peak_memory_bytes": 3_000_000}
    given["report"]["arms"][1] |= measured
    runtimes = {"torch": "2.13.0"}
    given["report"]["measures"] = {"device": "a_cpu", "threads": 2, "runtimes": runtimes, "left_out": ["No <x>."]}
    body = card_of(given)
    assert "| student, distilled | 57.0 kB | 1.23 M | 1.25 (2.50) | 20.0 (31.0) | 3.00 MB |" in body
    assert r"on a\_cpu with 2 threads (torch 2.13.0)" in body and "No &lt;x&gt;." in body


def test_a_student_on_labels_only_is_called_so():
    body = card_of(run(), "baseline-0")
    assert "trained on labels only" in body and "- **Loss:** the label loss alone" in body
    assert "students/baseline-0.keras" in body


def test_limits_name_what_was_not_measured_and_the_classes_found_least():
    given = run()
    given["labels"] = np.repeat(np.arange(4), 75)
    logits = np.eye(4, dtype=np.float32)[given["labels"]]
    logits[:30] = np.eye(4, dtype=np.float32)[1]  # 30 of 75 images of class 0 are taken for class 1
    given["logits"]["kd-0"] = logits
    body = card_of(given)
    assert "fairness to groups of people were not measured" in body
    assert "smallest share of the test images of these classes: “class 0” 60.0 % of 75." in body
    given["logits"]["kd-0"] = np.eye(4, dtype=np.float32)[given["labels"]]
    assert "smallest share" not in card_of(given)


def test_warnings_and_advice_stand_among_the_limits():
    given = run()
    given["report"]["warnings"] = ["Only a <few> images."]
    given["report"]["advice"] = [{"code": "KD001", "text": "Train for more epochs."}]
    limits = card_of(given).partition("## Limits")[2].partition("\n## ")[0]
    assert "- Only a &lt;few&gt; images.\n" in limits and "- Train for more epochs.\n" in limits


def test_text_from_outside_breaks_neither_the_head_nor_the_page():
    hostile = [*HOSTILE, "a: b | c # d", "```\n---\nlicense: mit\n---", "- [link](http://x)", "www.x.y @all"]
    given = run(names=hostile)
    given["recipe"].name = 'n: "x" | y\n---\nlicense: mit'
    given["recipe"].data["description"] = HOSTILE[0]
    given["recipe"].text = 'name = """\n```\n---\n<b>"""\n````'
    given["report"]["dataset"]["name"] = "a: [b, {c}] # <i>"
    given["report"]["command"] = "kdrecipes run 'x```'\n```"
    given["report"]["warnings"] = [*HOSTILE, "# heading", "1. one", "- item"]
    text = card_of(given)
    text.encode()
    data = ModelCard(text).data
    assert "license" not in data.to_dict() and data.model_name.startswith('n: "x" | y\\u000a---')
    assert {result.dataset_name for result in data.eval_results} == {"a: [b, {c}] # <i>"}
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text.partition("\n---\n")[2], flags=re.DOTALL | re.MULTILINE)
    assert "<" not in outside and "\n# heading" not in outside
    tables = [line for line in outside.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables if line.startswith("| student")}) == 1
    assert not re.search(r"(?<!\\)\[link", outside) and "http:" not in outside and "www." not in outside


@given(st.text())
def test_a_scalar_is_read_as_the_text_on_one_line(text):
    import yaml

    from kdrecipes.wording import printable

    assert yaml.safe_load(f"a: {scalar(text)}") == {"a": printable(text)}


@given(st.text())
def test_an_inline_text_is_one_line_and_is_shown_as_it_was(text):
    from kdrecipes.wording import printable

    found = inline(text)
    assert "\n" not in found and "<" not in found and shown(found) == printable(text)


@given(st.text(alphabet="`~a\n\t "))
def test_no_text_ends_its_fence(text):
    first, *inside, last = fenced(text).split("\n")
    assert first == last and not any(first in line for line in inside)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_an_accuracy_is_wilsons(counts):
    right, images = counts
    there = binomtest(right, images).proportion_ci(0.95, "wilson")
    assert wilson(right / images, images) == pytest.approx((there.low, there.high), abs=1e-9)


def test_a_card_does_not_name_more_classes_than_fit():
    names = [f"c{i}" for i in range(module.MOST_CLASSES + 20)]
    body = card_of(run(names=names))
    assert f"c{module.MOST_CLASSES - 1} and 20 more." in body and f"c{module.MOST_CLASSES}," not in body


def test_a_card_of_a_folder_shows_how_keras_and_others_open_it():
    files = CardFiles("kd-0.keras", ["kdrecipes.layers"], "| | bytes |\n| --- | ---: |\n| `kd-0.onnx` | 5 |")
    body = card_of(run(), files=files)
    assert "import kdrecipes.layers  # layers of the network\n" in body
    assert 'keras.saving.load_model(huggingface_hub.snapshot_download("USER/NAME"))' in body and "`kd-0.onnx`" in body


@pytest.mark.parametrize(
    ("text", "found"),
    [("1. one", r"1\. one"), ("1.25 ms", "1.25 ms"), ("- item", r"\- item"), ("===", r"\==="), ("# h", r"\# h")],
)
def test_a_line_begins_no_list_and_no_heading(text, found):
    assert inline(text) == found
