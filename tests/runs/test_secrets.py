"""No secret of the environment reaches a file of a run, of a sweep or of the home, whatever fails and tells it."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from rich.console import Console
from samples import SMALL

from kdrecipes.runs.progress import Progress

SECRETS = {
    "HF_TOKEN": "hf_qWeRtZuIoPaSdFgH",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "/AbC+dEf/GhIjKlMnOpQrStUvWxYz0123456789",
    "KAGGLE_KEY": "fedcba9876543210fedcba9876543210",
    "MLFLOW_TRACKING_PASSWORD": "correct horse battery",
    "MLFLOW_TRACKING_URI": "http://ann:hush-hush@127.0.0.1:9",
}
HIDDEN = [*SECRETS.values(), "hush-hush"]
ONE_EPOCH = [*SMALL, "train.epochs=1", "teacher.train.epochs=1", 'teacher.preflight="warn"', "compare.baseline=false"]
PLUGIN = """
import os, warnings
import kdrecipes

ALL = " ".join(os.environ[name] for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "KAGGLE_KEY",
               "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI"))

def student(classes, image_size, fails="no"):
    raise {"plain": ValueError, "told": kdrecipes.errors.RunError}[fails](f"no answer to {ALL}")

def tracker(folder):
    import keras
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise OSError(f"no answer to {ALL}")
    return Fails()
tracker.tracker = True

class Reads:
    classes, fingerprint = ["a", "b"], "1"
    def __len__(self):
        return 300
    def __getitem__(self, i):
        if i == 7:
            raise OSError(f"403 for {ALL}")
        import numpy as np
        return {"image": np.full((8, 8, 3), i % 2 * 255, np.uint8), "label": i % 2}

def reads(split="train"):
    return Reads()

def options(**more):
    return {"type": "object", "additionalProperties": False, "properties": {
        name: {"type": kind} for name, kind in more.items()}}

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "fails", student, options(
        classes="integer", image_size="integer", fails="string"))
    yield kdrecipes.Component("callback", "fails", tracker, options(folder="string"))
    yield kdrecipes.Component("dataset", "reads", reads, options(split="string"))
"""


@pytest.fixture
def place(tmp_path, home, monkeypatch):
    """A working directory in a repository whose remote has a password, and an environment full of secrets."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    work = tmp_path / "work"
    work.mkdir()
    git = {"cwd": work, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q"], **git)
    subprocess.run(["git", "remote", "add", "origin", "https://ann:hush-hush@example.org/x"], **git)
    (work / ".git").rename(tmp_path / ".git")
    (work / "plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(work)
    return work


def leaks(*folders: Path) -> list[str]:
    """The files that hold a secret, members of archives too."""
    found = []
    for file in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        parts = {str(file): file.read_bytes()}
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                parts |= {f"{file}:{name}": archive.read(name) for name in archive.namelist()}
        found += [name for name, content in parts.items() if any(secret.encode() in content for secret in HIDDEN)]
    return found


@pytest.mark.parametrize("fails", ["plain", "told"])
def test_a_run_that_fails_with_secrets_in_its_traceback_keeps_none(place, home, call, fails):
    words = [word for text in [*ONE_EPOCH, f'student={{name="fails", fails="{fails}"}}'] for word in ("--set", text)]
    run = place / SECRETS["HF_TOKEN"]  # so that the command has one too
    code, out, err = call("run", "digits", "--plugin", "plugin.py", "--out", run.name, *words)
    assert code == 1 and "<HF_TOKEN>" in err and not any(secret in out + err for secret in HIDDEN)
    log = (run / "log.txt").read_text()
    assert "no answer to <HF_TOKEN> <WANDB_API_KEY> <AWS_SECRET_ACCESS_KEY> <KAGGLE_KEY> <MLFLOW_TRACKING_PASS" in log
    assert "http://…@127.0.0.1:9" in log or "<MLFLOW_TRACKING_URI>" in log
    assert "<HF_TOKEN>" in json.loads((run / "status.json").read_text())["error"]
    assert leaks(run, home) == []


def test_what_a_run_tells_meanwhile_holds_none(place):
    progress, text = Progress(place / "log.txt"), io.StringIO()
    progress.console = Console(file=text, width=200)
    progress.note(f"asking with {SECRETS['HF_TOKEN']}")
    assert text.getvalue() == "asking with <HF_TOKEN>\n" and leaks(place) == []


@pytest.mark.slow
def test_a_run_whose_parts_fail_with_secrets_on_its_way_keeps_none_to_its_end(place, home, call):
    sets = [text for text in ONE_EPOCH if not text.startswith("dataset.")]
    sets += [
        'dataset={name="reads", validation=0.2, corrupt_limit=0.01}',
        'callbacks=[{name="fails"}, {name="csv_log"}]',
    ]
    words = [word for text in sets for word in ("--set", text)]
    code, out, err = call("run", "digits", "--plugin", "plugin.py", "--out", "run", *words)
    assert code == 0, err
    report = json.loads((place / "run/report.json").read_text())
    assert any("the tracker 'fails' failed" in text and "<HF_TOKEN>" in text for text in report["warnings"])
    assert "403 for <HF_TOKEN>" in json.dumps(report["dataset"]), "the reason of an image that can't be read"
    assert leaks(place / "run", home) == [] and not any(secret in out + err for secret in HIDDEN)


def test_a_sweep_whose_points_fail_with_secrets_keeps_none(place, home, call):
    words = [word for text in ONE_EPOCH for word in ("--set", text)]
    sets = ["--set", 'student={name="fails", fails="plain"}', "--grid", "loss.temperature=1,2"]
    code, out, err = call("sweep", "digits", "--plugin", "plugin.py", "--out", "sweep", *words, *sets)
    assert "<HF_TOKEN>" in (place / "sweep/sweep.json").read_text(), (code, err)
    assert leaks(place / "sweep", home) == [] and not any(secret in out + err for secret in HIDDEN)
