"""What trackers share, without a run: no epoch is logged twice, whatever ends a process; what they log of a recipe."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdrecipes
from kdrecipes.components.callbacks.following import Start, follow, history
from kdrecipes.components.callbacks.logged import differences, final_figures, markdown, parameters, table
from kdrecipes.components.callbacks.tensorboard_log import TensorBoardLog


class Remembers:
    """A log in memory, which outlives the processes that write to it."""

    opened: list
    seen: list

    def __init__(self, start):
        self.id = start.id or "the only one"
        self.opened.append(start.id)

    def epochs(self, label, rows):
        self.seen += [(label, epoch, figures["loss"]) for epoch, figures in rows]

    def end(self, report, folder):
        self.seen.append(("end", report))


@pytest.fixture
def memory():
    return type("Memory", (Remembers,), {"opened": [], "seen": []})


def write(folder, *rows):
    lines = [{"arm": arm, "seed": 0, "epoch": epoch, "loss": loss} for arm, epoch, loss in rows]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_process_that_dies_without_a_word_leaves_no_epoch_logged_twice_or_left_out(tmp_path, memory):
    first = follow("memory", lambda: "here", memory)
    first.on_run_begin({}, tmp_path)
    write(tmp_path, ("teacher", 1, 3.0))
    first.on_epoch_begin(0)
    write(tmp_path, ("teacher", 1, 3.0), ("kd", 1, 2.0))
    first.on_epoch_begin(1)
    write(tmp_path, ("teacher", 1, 3.0), ("kd", 1, 2.0), ("kd", 2, 1.0))  # and here it died
    second = follow("memory", lambda: "here", memory)
    second.on_run_begin({}, tmp_path)
    second.on_epoch_begin(2)
    second.on_train_end()
    second.on_run_end({"name": "x"}, tmp_path)
    assert memory.seen == [("teacher", 1, 3.0), ("kd-0", 1, 2.0), ("kd-0", 2, 1.0), ("end", {"name": "x"})]
    assert memory.opened == ["", "the only one"]


def test_a_log_that_could_not_be_opened_is_told_everything_at_the_end(tmp_path, memory):
    write(tmp_path, ("kd", 1, 2.0))
    answers = iter([OSError("no answer"), None])

    def open_log(start):
        if error := next(answers):
            raise error
        return memory(start)

    one = follow("memory", lambda: "here", open_log)
    with pytest.raises(OSError):
        one.on_run_begin({}, tmp_path)
    one.on_run_end(None, tmp_path)
    assert memory.seen == [("kd-0", 1, 2.0), ("end", None)]


def test_another_destination_is_another_log_and_gets_all_epochs(tmp_path, memory):
    write(tmp_path, ("kd", 1, 2.0))
    for destination in ("here", "there"):
        follow("memory", lambda destination=destination: destination, memory).on_run_begin({}, tmp_path)
    assert memory.opened == ["", ""] and memory.seen == [("kd-0", 1, 2.0)] * 2


def test_labels_of_several_teachers_hold_their_ids(tmp_path):
    rows = [
        {"arm": "teacher", "seed": seed, "teacher": name, "epoch": 1, "loss": 1.0}
        for seed, name in [(0, "a"), (1, "b")]
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert history(tmp_path) == {"teacher-a": [(1, {"loss": 1.0})], "teacher-b": [(1, {"loss": 1.0})]}


def test_runs_of_one_name_get_folders_of_their_own_in_a_shared_directory(tmp_path):
    found = []
    for place in ("a", "b"):
        log = TensorBoardLog(Start(tmp_path / place / "digits", {}, ""), str(tmp_path / "shared"))
        log.epochs("teacher", [(1, {"loss": 1.0})])
        found.append(log.id)
    assert found == ["digits", "digits-2"]
    assert TensorBoardLog(Start(tmp_path / "a" / "digits", {}, "digits"), str(tmp_path / "shared")).id == "digits"


def test_event_files_are_written_where_tensorflow_is_installed_without_importing_it(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tmp_path)!r})
from kdrecipes.components.callbacks.event_file import EventFile
file = EventFile(Path({str(tmp_path)!r}) / "logs")
file.scalars(1, {{"loss": 0.5}})
file.text("report", "| a |")
file.hyperparameters({{"a": 1, "b": "two", "c": True}})
assert "tensorflow" not in sys.modules and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "logs").iterdir())) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["train", "loss", "callbacks"]), JSON))
def test_parameters_are_texts_under_names_that_mlflow_takes_and_hold_no_callback(recipe):
    found = parameters(recipe)
    assert all(isinstance(value, str) for value in found.values())
    assert not [
        name
        for name in found
        if name.startswith("callbacks") or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.")
    ]


def test_parameters_name_the_keys_of_the_recipe():
    recipe = {
        "seed": 0,
        "compare": {"seeds": [0, 1]},
        "loss": {"terms": [{"name": "kd", "weight": 0.9}]},
        "callbacks": [1],
    }
    assert parameters(recipe) == {
        "seed": "0",
        "compare.seeds": "[0, 1]",
        "loss.terms.0.name": "kd",
        "loss.terms.0.weight": "0.9",
    }


def test_the_table_has_every_network_and_no_column_that_nobody_has():
    report = {
        "teachers": [{"id": "a", "test_accuracy": 0.9}, {"id": "b", "test_accuracy": 0.8}],
        "ensemble": {"test_accuracy": 0.95},
        "arms": [{"arm": "kd", "seed": 3, "test_accuracy": 0.7, "params": 10, "agreement": None}],
        "comparison": {"kd_minus_baseline": None, "kd_minus_teacher": {"mean": -0.2}},
    }
    assert list(final_figures(report)) == ["teacher-a", "teacher-b", "ensemble", "kd-3"]
    assert differences(report) == {"kd_minus_teacher": -0.2}
    assert markdown(*table(report)).splitlines() == [
        "|  | test_accuracy | params |",
        "|---|---|---|",
        "| teacher-a | 0.9000 |  |",
        "| teacher-b | 0.8000 |  |",
        "| ensemble | 0.9500 |  |",
        "| kd-3 | 0.7000 | 10 |",
    ]


@pytest.mark.parametrize("uri", ["http://me:secret@mlflow.example.org", "https://token@host/path"])
def test_a_password_in_a_tracking_uri_is_refused(uri):
    with pytest.raises(kdrecipes.errors.RecipeError, match="must not hold a user or a password"):
        kdrecipes.load_recipe("digits", [f'callbacks=[{{name="mlflow", tracking_uri="{uri}"}}]'])
    for right in ("http://127.0.0.1:5000", "sqlite:///mlflow.db", "databricks", "file:///a@b/mlruns"):
        kdrecipes.load_recipe("digits", [f'callbacks=[{{name="mlflow", tracking_uri="{right}"}}]'])
