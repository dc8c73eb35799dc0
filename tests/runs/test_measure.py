"""What networks cost to run: measured alike, in turn, and never at the price of a finished training."""

from __future__ import annotations

import json
import shutil
from functools import partial
from itertools import count

import keras
import numpy as np
import pytest
from samples import short

from kdrecipes import run, saved_models
from kdrecipes.report.build import check_report, rebuild_report
from kdrecipes.report.table import cost_rows, summary_text
from kdrecipes.runs import measure as measuring
from kdrecipes.runs.measure import LEAST_ROUNDS, ROUNDS, SECONDS, WARM, Network, interleaved, measure, multiply_adds

COSTS = {"size_bytes", "multiply_adds", "latency_ms", "latency_ms_onnx", "peak_memory_bytes"}


@keras.saving.register_keras_serializable("tests")
class Failing(keras.layers.Layer):
    """Takes one image and no more."""

    def call(self, x):
        if x.shape[0] == 32:
            raise RuntimeError("no room for 32 images")
        return x


def network(*layers, size=8):
    return Network(keras.Sequential([keras.Input((size, size, 3)), *layers]), size)


def dense():
    return network(keras.layers.Conv2D(4, 3, padding="valid"), keras.layers.Flatten(), keras.layers.Dense(5))


def test_multiply_adds_are_those_of_one_image():
    assert multiply_adds(dense()) == 6 * 6 * 4 * 3 * 3 * 3 + 6 * 6 * 4 * 5


def test_networks_take_turns_and_the_first_rounds_are_not_counted():
    asked = []
    times = interleaved({name: partial(asked.append, name) for name in "ab"}, now=partial(next, count(0, 0.001)))
    assert asked == ["a", "b"] * (ROUNDS + WARM)
    assert {name: len(of) for name, of in times.items()} == {"a": ROUNDS, "b": ROUNDS}
    assert times["a"] == pytest.approx([1.0] * ROUNDS), "milliseconds"


def test_slow_networks_are_asked_less_often():
    times = interleaved({"a": lambda: None}, now=partial(next, count(0, SECONDS)))
    assert len(times["a"]) == LEAST_ROUNDS


@pytest.mark.slow
def test_what_is_measured_of_a_network(tmp_path):
    facts = measure({"a": dense()}, "cpu", tmp_path)
    found = facts.networks["a"]
    assert set(found) == COSTS and not facts.left_out and set(facts.runtimes) == {"keras", "torch", "onnxruntime"}
    assert found["size_bytes"] > 4 * 832
    assert found["peak_memory_bytes"] >= 4 * (832 + 32 * (6 * 6 * 4)), "weights, and what the convolution gives"
    for key in ("latency_ms", "latency_ms_onnx"):
        assert set(found[key]) == {"1", "32"}
        assert all(0 < one["median"] <= one["p95"] and one["rounds"] >= LEAST_ROUNDS for one in found[key].values())
    assert not list(tmp_path.iterdir()), "no draft is left"


def test_the_size_is_that_of_the_file_that_a_run_saved(tmp_path):
    one = dense()
    saved_models.save(one.model, tmp_path / "a.keras")
    size = measuring.size_on_disk(Network(one.model, 8, tmp_path / "a.keras"), tmp_path)
    assert size == (tmp_path / "a.keras").stat().st_size


@pytest.mark.slow
def test_what_cannot_be_measured_is_told_and_the_rest_is_there(tmp_path):
    facts = measure({"a": network(Failing(), keras.layers.Flatten()), "b": dense()}, "cpu", tmp_path)
    assert "peak_memory_bytes" not in facts.networks["a"] and "multiply_adds" in facts.networks["a"]
    assert set(facts.networks["a"]["latency_ms"]) == {"1"} and set(facts.networks["b"]) == COSTS
    assert any("peak memory" in text and "no room for 32 images" in text for text in facts.left_out)
    assert not any("\x1b" in text for text in facts.left_out)


def test_without_onnx_runtime_it_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "onnx_calls", lambda *given: None)
    facts = measure({"a": dense()}, "cpu", tmp_path)
    assert set(facts.networks["a"]) == COSTS - {"latency_ms_onnx"} and "onnxruntime" not in facts.runtimes


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with two seeds that measured its networks."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    run(short("report.measure=true", "compare.seeds=[3,4]"), folder)
    return folder


def test_a_run_reports_the_costs_of_teacher_baseline_and_student(measured):
    report = json.loads((measured / "report.json").read_text())
    check_report(report)
    networks = {**{one["id"]: one for one in report["teachers"]}, **{(o["arm"], o["seed"]): o for o in report["arms"]}}
    assert {key for key, one in networks.items() if set(one) >= COSTS} == {"cnn", ("baseline", 3), ("kd", 3)}
    assert not set(networks["kd", 4]) & COSTS, "one student of several seeds is measured"
    assert networks["kd", 3]["multiply_adds"] == networks["baseline", 3]["multiply_adds"]
    assert networks["kd", 3]["multiply_adds"] < networks["cnn"]["multiply_adds"]
    assert networks["kd", 3]["size_bytes"] == (measured / "students" / "kd-3.keras").stat().st_size
    assert report["measures"]["device"] == "cpu" and report["time"]["parts"][-1]["part"] == "measuring"


def test_table_and_page_show_the_costs(measured):
    report = json.loads((measured / "report.json").read_text())
    rows = cost_rows(report)
    assert [row["who"] for row in rows] == ["teacher (cnn)", "student, labels only", "student, distilled"]
    text, page = summary_text(report), (measured / "report.html").read_text()
    assert "on disk  mult-adds" in text and f"cpu, {report['measures']['threads']} thread" in text
    assert "What each network costs to run" in page
    assert all(cell in page for row in rows for cell in row["cells"])


def test_the_report_is_made_again_without_measuring_again(measured):
    before = (measured / "report.json").read_bytes(), (measured / "report.html").read_bytes()
    rebuild_report(measured)
    assert ((measured / "report.json").read_bytes(), (measured / "report.html").read_bytes()) == before


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_what_was_measured(measured, tmp_path, monkeypatch):
    shutil.copytree(measured, tmp_path / "run")
    before = (tmp_path / "run" / "facts" / "measures.json").read_bytes()
    run(short("report.measure=true", "compare.seeds=[3,4,5]"), tmp_path / "run")
    assert (tmp_path / "run" / "facts" / "measures.json").read_bytes() == before


@pytest.mark.slow
def test_report_measure_false_leaves_the_costs_out(tmp_path):
    report = run(short("report.measure=false"), tmp_path / "run")
    assert "measures" not in report and not any(set(one) & COSTS for one in report["arms"])
    assert "What each network costs" not in (tmp_path / "run" / "report.html").read_text()
    assert "mult-adds" not in summary_text(report)


@pytest.mark.slow
def test_measuring_changes_no_student(measured, tmp_path):
    run(short("report.measure=false", "compare.seeds=[3,4]"), tmp_path / "run")
    with np.load(measured / "predictions.npz") as a, np.load(tmp_path / "run" / "predictions.npz") as b:
        assert set(a.files) == set(b.files) and all(np.array_equal(a[name], b[name]) for name in a.files)


def test_a_finished_run_takes_out_what_the_report_is_not_to_hold(measured, tmp_path, capsys):
    shutil.copytree(measured, tmp_path / "run")
    seeds = "compare.seeds=[3,4]"
    report = run(short(seeds, "report.measure=false", "report.images=false"), tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "measures" not in report and "data:image" not in page and "What each network costs" not in page
    assert not (tmp_path / "run" / "facts" / "measures.json").exists()
    assert not list((tmp_path / "run" / "figures").glob("images_*"))
    assert "made anew with report.measure = false and report.images = false" in capsys.readouterr().err
    students = (measured / "students" / "kd-3.keras", tmp_path / "run" / "students" / "kd-3.keras")
    assert students[0].read_bytes() == students[1].read_bytes(), "nothing was trained"


@pytest.mark.slow
def test_measures_that_come_too_late_are_told(tmp_path, capsys):
    run(short("report.measure=false"), tmp_path / "run")
    run(short("report.measure=true"), tmp_path / "run")
    assert "was run with report.measure = false: --overwrite" in capsys.readouterr().err
