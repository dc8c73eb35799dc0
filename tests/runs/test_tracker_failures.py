"""What fails in a tracker stops nothing and is told once; what one needs is told before a run begins."""

import importlib.util
import json
import socket

import pytest
from samples import short

import kdrecipes
from kdrecipes.errors import MissingPart, RunError
from kdrecipes.runs.trackers import Trackers, tracked

FAILS = """
import kdrecipes

def build(folder, fails):
    import keras

    if fails == "build":
        raise OSError("no such server")
    if fails == "kind":
        return "no callback"

    def called(name):
        with open(f"{folder}/called.txt", "a") as file:
            file.write(name + " ")
        if fails == name or fails == "all":
            raise OSError(f"no answer from http://me:hush@127.0.0.1 to {name}")

    class Fails(keras.callbacks.Callback):
        def on_run_begin(self, recipe, folder):
            recipe.clear()
            called("on_run_begin")
        def on_epoch_begin(self, epoch, logs=None):
            called("on_epoch_begin")
        def on_train_end(self, logs=None):
            called("on_train_end")
        def on_run_end(self, report, folder):
            called("on_run_end")

    return Fails()

build.tracker = True

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="callback", name="fails", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"folder": {"type": "string"}, "fails": {"type": "string"}}})
"""


@pytest.fixture
def fails(tmp_path):
    """`fails(where)`: the report of a run whose tracker fails there, the text of its log, and what was called."""
    (tmp_path / "fails.py").write_text(FAILS)

    def fails(where):
        folder = tmp_path / "run"
        recipe = short(f'callbacks=[{{name="fails", fails="{where}"}}]', plugins=[tmp_path / "fails.py"])
        report = kdrecipes.run(recipe, folder)
        assert json.loads((folder / "report.json").read_text()) == report
        assert json.loads((folder / "status.json").read_text())["status"] == "done"
        called = folder / "called.txt"
        return report, (folder / "log.txt").read_text(), called.read_text().split() if called.exists() else []

    return fails


BEGIN, EPOCH, END, RUN_END = "on_run_begin", "on_epoch_begin", "on_train_end", "on_run_end"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "called"),
    [
        ("build", []),
        ("kind", []),
        ("all", [BEGIN, RUN_END]),
        (EPOCH, [BEGIN, EPOCH, RUN_END]),
        (RUN_END, [BEGIN, EPOCH, END, EPOCH, END, RUN_END]),
    ],
)
def test_a_tracker_that_fails_is_told_once_and_heard_again_only_at_the_end(fails, where, called):
    report, log, found = fails(where)
    assert found == called
    [warning] = report["warnings"]
    assert warning.startswith("the tracker 'fails' failed, and logs no more until the run ends: ")
    assert ("TypeError: its build returned a str" if where == "kind" else "OSError: no ") in warning
    assert log.count(warning) == 1 and "hush" not in log + json.dumps(report)


def test_a_tracker_hears_of_a_run_that_stops(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr("kdrecipes.components.callbacks.csv_log.CsvLog.end", lambda *a: heard.append(a[1]))
    monkeypatch.setattr("kdrecipes.runs.run.plan_fits", lambda *a: 1 / 0)
    with pytest.raises(RunError):
        kdrecipes.run(short('callbacks=[{name="csv_log"}]'), tmp_path / "run")
    assert heard == [None]


def test_a_tracker_hears_of_the_end_once_even_where_the_run_fails_after_it(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr("kdrecipes.components.callbacks.csv_log.CsvLog.end", lambda *a: heard.append(a[1]))
    with pytest.raises(ZeroDivisionError), tracked(short('callbacks=[{name="csv_log"}]'), tmp_path, print) as trackers:
        trackers.end({"name": "digits"})
        1 / 0  # noqa: B018
    assert heard == [{"name": "digits"}]


@pytest.mark.slow
def test_a_server_that_is_down_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:  # bound and not listening: whoever connects is refused
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        report = kdrecipes.run(short(f'callbacks=[{{name="mlflow", tracking_uri="{address}"}}]'), tmp_path / "run")
    [warning] = report["warnings"]
    assert "the tracker 'mlflow' failed" in warning and "refused" in warning


@pytest.mark.slow
def test_without_a_key_wandb_asks_nobody(tmp_path, monkeypatch):
    import wandb

    wandb.teardown()  # it keeps what the environment said when it was first asked
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    report = kdrecipes.run(short('callbacks=[{name="wandb", mode="online"}]'), tmp_path / "run")
    [warning] = report["warnings"]
    assert "W&B knows no API key here; `wandb login` keeps one" in warning


def test_the_first_process_alone_logs(tmp_path, monkeypatch):
    recipe = short('callbacks=[{name="csv_log"}]')
    counts = []
    for rank in (None, "0", "1"):
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        counts.append(len(Trackers(recipe, tmp_path, print).callbacks))
    assert counts == [1, 1, 0]


def test_what_a_tracker_needs_is_told_before_anything_begins(tmp_path, monkeypatch, call):
    there = importlib.util.find_spec
    hidden = ("wandb", "mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else there(name))
    sets = ["--set", 'callbacks=[{name="wandb"}, {name="mlflow"}, {name="tensorboard"}]']
    code, out, told = call("run", "digits", "--out", tmp_path / "run", *sets)
    assert (code, out) == (3, "") and not (tmp_path / "run").exists()
    assert told.splitlines() == [
        "The callback 'wandb' needs wandb, which is not installed. Install it: `pip install 'kdrecipes[wandb]'`",
        "The callback 'mlflow' needs mlflow-skinny, which is not installed. "
        "Install it: `pip install 'kdrecipes[mlflow]'`",
    ]
    code, _, told = call("validate", "digits", "--dry-run", *sets)
    assert code == 3 and "`pip install 'kdrecipes[wandb]'`" in told
    with pytest.raises(MissingPart):
        kdrecipes.run(short('callbacks=[{name="wandb"}]'), tmp_path / "run")
