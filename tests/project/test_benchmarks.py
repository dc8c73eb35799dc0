"""The benchmarks: candidates take turns, both sides do the same work, and the committed run is a full one."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ is no part of the package

from benchmarks import handwritten, networks, report, sweep, terms
from benchmarks.__main__ import RESULTS, TERM_COSTS, by_file, main
from benchmarks.parts import PARTS
from benchmarks.rows import Row, Setting, row_of
from benchmarks.terms import names, term_of
from benchmarks.timing import Ratio, interleave, milliseconds, per_second, ratio
from kdrecipes import Outputs
from kdrecipes.components.losses import TERMS

ROOT = Path(__file__).resolve().parents[2]


# --- timing -----------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that candidates push forward, and the order in which they did."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def takes(self, name, *seconds):
        """A candidate that takes these seconds, call by call."""
        durations = iter(seconds)

        def call():
            self.calls.append(name)
            self.now += next(durations)

        return call


@pytest.mark.slow
def test_candidates_take_turns_and_warm_up_is_not_timed():
    clock = Clock()
    candidates = {
        "a": clock.takes("a", 100, 1, 1, 1),
        "b": clock.takes("b", 50, 2, 2, 8),
        "c": clock.takes("c", *[4] * 4),
    }
    times = interleave(candidates, 3, warm_up=1, clock=clock)
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab"
    assert times == {"a": [1, 1, 1], "b": [2, 2, 8], "c": [4, 4, 4]}


@pytest.mark.slow
def test_times_are_per_call():
    clock = Clock()
    assert interleave({"a": clock.takes("a", 1, 3, 5, 5)}, 2, steps=2, warm_up=0, clock=clock) == {"a": [2, 5]}


@pytest.mark.slow
def test_settling_calls_are_not_timed():
    clock = Clock()
    candidates = {"a": clock.takes("a", 100, 1, 100, 3), "b": clock.takes("b", 100, 2, 100, 4)}
    assert interleave(candidates, 2, warm_up=0, settle=1, clock=clock) == {"a": [1, 3], "b": [2, 4]}


def test_ratio_is_of_medians_and_its_spread_of_rounds():
    measured = ratio([2, 4, 6, 8, 100], [1, 2, 2, 2, 4])  # rounds: 2, 2, 3, 4, 25
    assert measured == Ratio(3.0, 2.0, 4.0)


def test_ratio_refuses_rounds_that_do_not_pair_up():
    with pytest.raises(ValueError):
        ratio([1, 2, 3], [1, 2])


def test_absolute_figures_are_of_the_median():
    assert milliseconds([0.001, 0.002, 9]) == 2.0
    assert per_second(64, [0.5, 2.0, 0.4]) == 128.0


# --- both sides do the same work --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", handwritten.TWINS)
def test_handwritten_twin_is_the_same_network(name):
    """As many numbers to train; geffnet counts batch norm's statistics apart, as Keras does."""
    mine = networks.build(name, 32)
    expected = sum(int(np.prod(v.shape)) for v in mine.trainable_variables)
    assert sum(p.numel() for p in handwritten.build(name).parameters()) == expected


def test_ways_to_write_it_by_hand_compute_the_same():
    def logits(native):
        torch.manual_seed(0)
        model = handwritten.build("mobilenet_v3_small", native).eval()
        names = {type(module).__name__ for module in model.modules()}
        assert ("HardSwishMe" in names) != native
        with torch.no_grad():
            return model(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255)

    torch.testing.assert_close(logits(True), logits(False))


def test_a_handwritten_step_lowers_its_loss():
    images, labels = networks.batch_of(4, 32)
    step = handwritten.step_of("mobilenet_v3_small", images, labels, handwritten.Way(), Setting())
    losses = [float(step()) for _ in range(6)]
    assert losses[-1] < losses[0]


def test_tuning_keeps_what_is_faster(monkeypatch):
    """Here contiguous memory and geffnet's activations are; fused AdamW stays."""
    cost = {"channels_last": +1, "native_activations": +1, "fused": -1}
    monkeypatch.setattr(handwritten, "step_of", lambda name, images, labels, way, setting: way)
    monkeypatch.setattr(
        handwritten,
        "interleave",
        lambda ways, rounds, steps: {k: [sum(cost[c] * getattr(way, c) for c in cost)] for k, way in ways.items()},
    )
    step, way = handwritten.tune("mobilenet_v3_small", torch.empty(0), torch.empty(0), Setting())
    assert step is way and way == handwritten.Way(channels_last=False, native_activations=False, fused=True)


def test_stock_and_kdrecipes_steps_are_the_same_training():
    images, labels = networks.batch_of(32, 8)
    stock, ours = networks.stock(networks.two_layers(8)), networks.distiller(networks.two_layers(8))
    theirs, mine = networks.step_of(stock, images, labels), networks.step_of(ours, networks.as_loaded(images), labels)
    for _ in range(3):
        expected, received = theirs(), mine()
        assert float(received["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
        assert float(received["accuracy"]) == pytest.approx(float(expected["accuracy"]))
    for a, b in zip(ours.student.weights, stock.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)


# --- what a term costs ------------------------------------------------------------------------------------------------


def test_every_term_is_measured():
    assert {"kd", *names(layers=False), *names(layers=True)} == set(TERMS)  # a module is named as its term
    assert "dkd" in names(layers=False) and "hint" in names(layers=True)


def test_a_term_is_measured_with_its_defaults_and_the_teachers_logits_of_the_batch():
    images, labels = networks.batch_of(8, 8)
    teacher = torch.randn(8, networks.CLASSES, generator=torch.Generator().manual_seed(0))
    model = networks.distiller(networks.two_layers(8), term=term_of("dkd"))
    expected = term_of("dkd")(labels, Outputs(model.student(images).detach()), Outputs(teacher)).mean()
    received = networks.step_of(model, networks.as_loaded(images, teacher=teacher), labels)()
    assert float(received["dkd"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_each_term_makes_a_step_and_has_a_row(monkeypatch):
    """Without the clock."""

    def once(candidates, rounds, **_):
        return {name: [1.0, float(step() is not None)] for name, step in candidates.items()}

    monkeypatch.setattr(terms, "interleave", once)
    rows = terms.measure(Setting(quick=True))
    for number, layers, goal in ((9, False, 1.1), (10, True, None)):
        found = [row for row in rows if row.row == number]
        assert [row.figures["term"] for row in found] == names(layers) and {row.goal for row in found} == {goal}


def test_resnet20_has_as_many_parameters_as_in_its_paper():
    assert round(networks.resnet20(32).count_params() / 1e6, 2) == 0.27


def test_what_terms_cost_stands_in_a_file_of_its_own():
    rows = [row_of(number, str(number), Ratio(1, 1, 1), "at most") for number in (1, 8, 9, 10)]
    assert by_file(rows) == {RESULTS: rows[:2], TERM_COSTS: rows[2:]}
    assert by_file(rows[2:]) == {TERM_COSTS: rows[2:]}


@pytest.mark.parametrize("more", [["--row", "1"], ["--gpu"]])
def test_the_terms_alone_take_no_rows_and_no_gpu(more, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["terms", *more])
    assert stopped.value.code == 2 and capsys.readouterr().err


# --- the table --------------------------------------------------------------------------------------------------------


def document(*rows, quick=False):
    return report.document(rows, Setting(quick=quick), 60.0, "make bench")


def test_table_says_whether_the_goal_is_reached():
    measured = Ratio(1.5, 1.4, 1.6)
    rows = [
        row_of(1, "a", measured, "at least", 1.4),
        row_of(1, "b", measured, "at least", 1.6),
        row_of(4, "c", measured, "at most", 1.6),
        row_of(4, "d", measured, "at most", 1.4),
        row_of(5, "e", measured, "at least"),
    ]
    cells = report.cells(document(*rows))
    assert [line[-1] for line in cells] == ["yes", "no", "yes", "no", "–"]
    assert cells[0] == ["1", "a", "1.50", "1.40–1.60", "≥ 1.4", "yes"]


def test_table_shows_absolute_figures_below_their_row():
    rows = [
        row_of(1, "first", Ratio(2, 2, 2), "at least", batch=64),
        row_of(2, "second", Ratio(1, 1, 1), "at most", step_ms=3),
    ]
    lines = report.table(document(*rows)).splitlines()
    assert "first" in lines[1] and "batch 64" in lines[2]
    assert "second" in lines[3] and "step_ms 3" in lines[4]


def test_document_is_json_and_names_the_machine():
    found = json.loads(json.dumps(document(Row(1, "a", 2.0, (1.0, 3.0), "at least", 2.0, 2.4, {"batch": 64}))))
    assert {"cpu", "cores", "threads", "python", "torch", "keras", "device"} <= set(found["machine"])
    assert found["rows"] == [
        {
            "row": 1,
            "name": "a",
            "ratio": 2.0,
            "iqr": [1.0, 3.0],
            "direction": "at least",
            "goal": 2.0,
            "reach": 2.4,
            "figures": {"batch": 64},
        }
    ]
    assert set(found) == {"machine", "rows", "quick", "seconds", "command"}


def test_quick_table_says_that_it_measures_nothing():
    assert "NO MEASUREMENT" in report.table(document(row_of(1, "a", Ratio(2, 2, 2), "at least"), quick=True))


def test_gpu_run_is_refused_without_a_gpu(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--gpu"])
    assert stopped.value.code == 2 and "--gpu" in capsys.readouterr().err


# --- the committed run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))


def test_committed_run_is_a_full_one_on_real_images(committed):
    assert committed["quick"] is False
    assert {row["row"] for row in committed["rows"]} == {number for numbers in PARTS.values() for number in numbers}
    assert {row["figures"]["images"] for row in committed["rows"] if "images" in row["figures"]} == {"FashionMNIST"}
    assert committed["machine"]["device"] == "cpu"


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_quick_run_writes_its_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = tmp_path / "bench.json"
    main(["--quick", "--row", "4", "--row", "8", "--out", str(out)])
    told = capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["quick"] is True and [row["row"] for row in found["rows"]] == [4, 8]
    for row in found["rows"]:
        low, high = row["iqr"]
        assert set(row) == set(asdict(row_of(1, "", Ratio(1, 1, 1), "at least")))
        assert 0 < low <= high and row["ratio"] > 0
        assert row["name"] in told


def test_the_terms_alone_are_a_command(tmp_path, monkeypatch, capsys):
    row = row_of(9, "training step, dkd ÷ kd", Ratio(1.02, 1.0, 1.1), "at most", 1.1, term="dkd")
    asked = []
    monkeypatch.setattr("benchmarks.__main__.measure_all", lambda wanted, setting: asked.extend(wanted) or [row])
    main(["terms", "--quick", "--out", str(tmp_path / "costs.json")])
    assert asked == [9, 10]
    assert json.loads((tmp_path / "costs.json").read_text(encoding="utf-8"))["rows"][0]["name"] == row.name
    assert row.name in capsys.readouterr().out


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_points_cost_is_its_share_of_the_sweep_against_the_median_of_lone_runs(monkeypatch):
    lone = iter([10.0, 30.0, 20.0])
    monkeypatch.setattr(sweep, "_seconds", lambda verb, *rest: 96.0 if verb == "sweep" else next(lone))
    found = sweep.measure("digits")
    assert found["points"] == 24 and found["point_to_lone_run"] == 0.2  # 96 s of 24 points: 4 s, of 20 s
