"""One run, stopped in its last arm and continued, as four trackers have it, read back by what they log to."""

import csv
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from samples import SMALL, small

import kdrecipes
from kdrecipes.components.callbacks.following import history
from kdrecipes.components.callbacks.logged import parameters

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"WANDB_API_KEY": "k3y" * 13 + "k", "MLFLOW_TRACKING_PASSWORD": "hush-hush-4711", "MY_TOKEN": "whisper-0815"}
LABELS = ("teacher", "baseline-0", "kd-0")

# Ends the process, as whoever takes a machine away does, in the second epoch of the distilled arm.
STOPS = """
import os, signal
import kdrecipes

def build(arm):
    import keras

    class Stops(keras.callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            if arm == "kd" and self.epoch == 1 and os.environ.get("STOPS"):
                os.kill(os.getpid(), signal.SIGTERM)

    return Stops()

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="callback", name="stops", build=build, options={
        "type": "object", "additionalProperties": False, "properties": {"arm": {"type": "string"}}})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real MLflow server on loopback; gives its address."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    told = []
    for line in process.stdout:
        told.append(line)
        if "startup complete" in line:
            break
    else:
        pytest.fail("".join(told))
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def followed(server, tmp_path_factory):
    """The run folder, and the report, of a run that was stopped after the distilled arm's first epoch and went on."""
    home = tmp_path_factory.mktemp("tracked")
    callbacks = (
        f'{{name="stops"}}, {{name="csv_log"}}, {{name="tensorboard"}}, '
        f'{{name="mlflow", tracking_uri="{server}", experiment="tests"}}, '
        '{name="wandb", mode="offline", project="tests", tags=["small"]}'
    )
    (home / "stops.py").write_text(STOPS)
    environment = {
        **SECRETS,
        "KDRECIPES_HOME": str(home / "home"),
        "WANDB_DATA_DIR": str(home / "wandb"),
        "WANDB_CACHE_DIR": str(home / "wandb"),
        "WANDB_CONFIG_DIR": str(home / "wandb"),
        "MLFLOW_TRACKING_USERNAME": "tester",
    }
    sets = [word for one in (*SMALL, f"callbacks=[{callbacks}]") for word in ("--set", one)]
    stopped = subprocess.run(
        [sys.executable, "-m", "kdrecipes", "run", "digits", "--out", "run", "--plugin", "stops.py", *sets],
        cwd=home,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "STOPS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert stopped.returncode == 143, stopped.stderr
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        report = kdrecipes.run(small(f"callbacks=[{callbacks}]", plugins=[home / "stops.py"]), home / "run")
    return home / "run", report


def expected(folder):
    """By label and epoch, the figures of the history."""
    return {(label, epoch): figures for label, rows in history(folder).items() for epoch, figures in rows}


def test_nothing_failed_and_the_history_has_each_epoch_once(followed):
    folder, report = followed
    assert report["warnings"] == []
    assert {label: [epoch for epoch, _ in rows] for label, rows in history(folder).items()} == {
        "teacher": [1, 2, 3],
        "baseline-0": [1, 2],
        "kd-0": [1, 2],
    }


def test_csv_log_has_each_epoch_once_and_the_final_table(followed):
    folder, report = followed
    for label, rows in history(folder).items():
        with (folder / f"{label}.csv").open(newline="") as file:
            found = list(csv.DictReader(file))
        assert [{key: float(value) for key, value in row.items()} for row in found] == [
            {"epoch": epoch, **figures} for epoch, figures in rows
        ]
    with (folder / "results.csv").open(newline="") as file:
        found = {row["network"]: float(row["test_accuracy"]) for row in csv.DictReader(file)}
    assert found == accuracies(report)


def test_tensorboard_reads_each_epoch_once_and_lays_the_arms_over_each_other(followed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, report = followed
    found = {}
    for label in LABELS:
        events = EventAccumulator(str(folder / "tensorboard" / label)).Reload()
        for tag in events.Tags()["scalars"]:
            for point in events.Scalars(tag):
                if not tag.startswith("final/"):
                    assert tag not in found.setdefault((label, point.step), {}), "no epoch twice"
                    found[label, point.step][tag] = point.value
        [accuracy] = events.Scalars("final/test_accuracy")
        assert accuracy.value == pytest.approx(accuracies(report)[label])
        assert ("_hparams_/session_start_info" in events.summary_metadata) == (label != "teacher")
    assert found == {key: pytest.approx(figures) for key, figures in expected(folder).items()}
    texts = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert set(texts.Tags()["tensors"]) == {"recipe", "report"}
    [table] = texts.Tensors("report")
    assert "| kd-0 |" in table.tensor_proto.string_val[0].decode()


def test_hyperparameters_are_numbers_where_the_recipe_has_numbers(followed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    events = EventAccumulator(str(followed[0] / "tensorboard" / "kd-0")).Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    found = parse_session_start_info_plugin_data(content).hparams
    assert found["train.epochs"].number_value == 2 and found["arm"].string_value == "kd"
    assert found["train.fast"].bool_value is True


def test_mlflow_has_one_run_with_each_epoch_once_the_recipe_and_the_report(followed, server):
    from mlflow import MlflowClient

    folder, report = followed
    client = MlflowClient(server)
    [run] = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    found = {}
    for key in run.data.metrics:
        label, _, name = key.partition("/")
        for point in client.get_metric_history(run.info.run_id, key):
            if point.step:
                assert name not in found.setdefault((label, point.step), {}), "no epoch twice"
                found[label, point.step][name] = point.value
    assert found == {key: pytest.approx(figures) for key, figures in expected(folder).items()}
    assert run.data.params == parameters(json.loads((folder / "lock.json").read_text())["recipe"])
    assert run.data.params["train.epochs"] == "2" and not [key for key in run.data.params if "callback" in key]
    final = {label: run.data.metrics[f"{label}/test_accuracy"] for label in LABELS}
    assert final == pytest.approx(accuracies(report))
    assert run.data.metrics["kd_minus_baseline"] == report["comparison"]["kd_minus_baseline"]["mean"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "report.json",
        "report.html",
        "table.md",
    }
    copy = client.download_artifacts(run.info.run_id, "report.json")
    assert json.loads(Path(copy).read_text()) == report


def test_wandb_has_one_run_with_each_epoch_once_the_recipe_and_the_report(followed):
    folder, report = followed
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    records = [record for file in files for record in wandb_records(file)]
    assert len(files) == 2 and len({one.run.run_id for one in records if one.HasField("run")}) == 1
    found = {}
    for record in records:
        items = {"".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for key in (key for key in items if key.partition("/")[0] in LABELS):
            label, _, name = key.partition("/")
            epoch = found.setdefault((label, json.loads(items["epoch"])), {})
            assert name not in epoch, "no epoch twice"
            epoch[name] = json.loads(items[key])
    assert found == {key: pytest.approx(figures) for key, figures in expected(folder).items()}
    config = {one.key: one.value_json for record in records for one in record.run.config.update}
    assert json.loads(config["train"])["epochs"] == 2 and "callbacks" not in config
    assert [one.artifact.type for one in records if one.HasField("artifact")].count("report") == 1
    summary = {"".join(one.nested_key) or one.key: one.value_json for r in records for one in r.summary.update}
    assert json.loads(summary["kd-0/test_accuracy"]) == accuracies(report)["kd-0"]


def test_no_secret_of_the_environment_is_in_what_is_logged(followed):
    files = [file for file in followed[0].parent.rglob("*") if file.is_file()]
    assert len(files) > 20
    for file in files:
        content = file.read_bytes()
        assert not [name for name, secret in SECRETS.items() if secret.encode() in content], file


def accuracies(report):
    """By label, the test accuracies of a report of one teacher."""
    arms = {f"{arm['arm']}-{arm['seed']}": arm["test_accuracy"] for arm in report["arms"]}
    return {"teacher": report["teachers"][0]["test_accuracy"], **arms}


def wandb_records(file):
    """What a file of W&B holds: after a head of 7 bytes records in blocks of 32 KiB, as LevelDB's log has them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, part = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part, at = part + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(part)
            part = b""
