"""What goes wrong outside the recipe or in the arithmetic ends a run with one message, and costs no finished work."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SMALL, short, small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.report.facts import read_teachers
from kdrecipes.runs.memory import memory_errors
from kdrecipes.training import fit as training
from kdrecipes.training.state import StateFolder

TESTS = Path(__file__).resolve().parents[1]


def spoiling(fit, step):
    """A listener after which the loss of a fit, e.g. "kd-0", is no number in a step, counted from 1."""

    def listener(label, distiller, loader, callbacks):
        if label == fit:
            real, calls = distiller.learner.call, []

            def call(image, *others):
                logits, own, values = real(image, *others)
                calls.append(1)
                return logits, own * math.nan if len(calls) == step else own, values

            distiller.learner.__dict__["call"] = call

    return listener


@pytest.mark.slow
def test_a_run_whose_loss_is_no_number_keeps_its_last_good_state_and_goes_on_to_the_same_bits(finished, tmp_path):
    with training.observed(spoiling("kd-0", 11)), pytest.raises(RunError) as caught:
        kdrecipes.run(small(), tmp_path / "run")
    text = str(caught.value)
    assert text.startswith("kd-0: the loss is nan in step 3 of epoch 2, at a learning rate of 0.0")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["error"]) == ("failed", text)
    assert text in (tmp_path / "run" / "log.txt").read_text()
    arrays, meta = StateFolder(tmp_path / "run" / "state").load()
    assert len(meta["rows"]) == 1 and all(np.isfinite(one).all() for one in arrays)
    kdrecipes.run(small(), tmp_path / "run")
    for a, b in zip(student_arrays(finished[0], "kd-0"), student_arrays(tmp_path / "run", "kd-0"), strict=True):
        np.testing.assert_array_equal(a, b)


FULL = """
import json, os, resource, sys
import kdrecipes
from kdrecipes.data.prepare import prepare
from charts import draw_charts
from samples import small

draw_charts(False)
prepare(small())  # a store is larger than all that comes after it
for limit in [2000, 30000, 60000, 75000, 120000]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        kdrecipes.run(small(), sys.argv[1])
        told = ["done", ""]
    except Exception as error:
        told = [type(error).__name__, str(error)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps(told), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no size of files")
def test_a_disk_that_is_full_at_any_write_is_told_with_the_file_and_the_same_command_goes_on(finished, tmp_path, home):
    """Ever larger files fit on it, so that each time another one does not: locks, states, teachers, students."""
    process = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(told) == 5 and told[-1][0] == "done", process.stderr
    files = []
    for kind, text in told[:-1]:
        assert kind == "EnvironmentProblem" and "is full (" in text and "the same command" in text, text
        files.append(Path(text.split("The disk that holds ")[1].split(" is full")[0]).name)
    assert {"lock.json", "student.keras", "next"} <= {*files}, files
    for label in ("baseline-0", "kd-0"):
        for a, b in zip(student_arrays(finished[0], label), student_arrays(tmp_path / "run", label), strict=True):
            np.testing.assert_array_equal(a, b)


class ThereIsNoMore:
    """Stands for the first step of an epoch that asks for more memory than there is."""

    def __init__(self, fit, error):
        self.fit, self.error = fit, error

    def __call__(self, label, distiller, loader, callbacks):
        def out(epoch, logs=None):
            if epoch == 1:
                raise self.error

        if label == self.fit:
            callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=out))


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "The GPU has"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), "The GPU has"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "There is"),
        (MemoryError("Unable to allocate 9 GiB for an array"), "There is"),
    ],
)
def test_too_little_memory_is_told_with_what_needs_less(error, where):
    with pytest.raises(RunError) as caught, memory_errors(small("train.accumulate=3")):
        try:
            raise error
        except Exception as cause:
            raise RunError("a step failed") from cause
    text = str(caught.value)
    assert text.startswith(f"{where} not enough memory ({type(error).__name__}: {str(error)[:12]}")
    assert "train.batch_size = 16 (now 32) and teacher.train.batch_size = 16 (now 32)" in text
    assert "train.accumulate = 6 and teacher.train.accumulate = " in text
    assert 'train.precision and teacher.train.precision = "bfloat16"' in text
    assert text.endswith("what is saved is kept.")


def test_what_is_no_want_of_memory_passes_unchanged():
    with pytest.raises(ValueError, match=r"^too little$"), memory_errors(small('train.precision="bfloat16"')):
        raise ValueError("too little")
    with pytest.raises(RunError) as caught, memory_errors(small('train.precision="bfloat16"')):
        raise MemoryError
    assert "(MemoryError)" in str(caught.value) and "precision" not in str(caught.value)


def test_too_many_open_files_are_told_with_what_allows_more(tmp_path, monkeypatch):
    def none_left(*arguments):
        try:
            raise OSError(errno.EMFILE, "Too many open files", "/x/assets")
        except OSError as error:
            raise RunError("x can't be read. Delete it.") from error

    monkeypatch.setattr("kdrecipes.runs.run.straight_line", none_left)
    with pytest.raises(
        EnvironmentProblem, match=r"^/x/assets: Too many open files\. Allow more of them, for example by"
    ):
        kdrecipes.run(small(), tmp_path / "run")
    assert "ulimit -n" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.slow
def test_a_run_without_memory_keeps_its_state_and_goes_on(finished, tmp_path):
    with training.observed(ThereIsNoMore("kd-0", MemoryError("9 GiB"))), pytest.raises(RunError, match="9 GiB"):
        kdrecipes.run(small(), tmp_path / "run")
    assert len(StateFolder(tmp_path / "run" / "state").load()[1]["rows"]) == 1
    kdrecipes.run(small(), tmp_path / "run")
    assert "kd-0  goes on after epoch 1/2" in (tmp_path / "run" / "log.txt").read_text()
    for a, b in zip(student_arrays(finished[0], "kd-0"), student_arrays(tmp_path / "run", "kd-0"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fit", ["teacher", "kd-0"])
def test_a_folder_that_is_removed_while_its_run_goes_on_is_told_as_that(tmp_path, home, fit):
    def removing(label, distiller, loader, callbacks):
        if label == fit:
            gone = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs=None: shutil.rmtree(tmp_path / "run")
            )
            callbacks.append(gone)

    told = f"^{tmp_path / 'run'} was removed while its run went on. Remove what is left of it, and run the same command"
    with training.observed(removing), pytest.raises(RunError, match=told):
        kdrecipes.run(short('teacher.preflight="warn"'), tmp_path / "run")
    assert not (tmp_path / "run" / "students").exists() or fit == "kd-0"


SHORT_OF_MEMORY = """
import json, resource, sys
import kdrecipes
from charts import draw_charts
from kdrecipes.backend import keras
from kdrecipes.training import fit as training
from samples import small

draw_charts(False)
NONE = resource.RLIM_INFINITY


def limited(more):
    kilobytes = next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]
    resource.setrlimit(resource.RLIMIT_AS, (int(kilobytes) * 1024 + more, NONE))


def filling(label, distiller, loader, callbacks):
    def fill(epoch, logs=None):
        if epoch == 1:
            limited(500_000_000)
            bytearray(2_000_000_000)

    if label == "kd-0":
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=fill))


def told(name, *more):
    try:
        kdrecipes.run(small(*more), f"{sys.argv[1]}/{name}")
        text = "done"
    except Exception as error:
        text = f"{type(error).__name__} {error.exit_code}: {error}"
    resource.setrlimit(resource.RLIMIT_AS, (NONE, NONE))
    print(json.dumps(text), flush=True)


with training.observed(filling):
    told("run")
told("run")
limited(1_000_000_000)
told("step", "train.batch_size=256", "student.width=64", "dataset.image_size=512")
limited(1_000_000_000)
told("outputs", "teacher.image_size=4096", 'teacher.train.batch_size=16')
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
def test_a_process_without_memory_is_told_what_needs_less_and_the_same_command_goes_on(finished, tmp_path, home):
    """More is asked for than the system gives: within an epoch, and for a first step of either network."""
    process = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(told) == 4 and told[1] == "done", process.stderr
    for text in (told[0], *told[2:]):
        assert text.startswith("RunError 1: There is not enough memory (") and text.endswith("what is saved is kept.")
        assert "train.batch_size = " in text and "train.accumulate = 2" in text and '"bfloat16"' in text
    assert "kd-0  goes on after epoch 1/2" in (tmp_path / "run" / "log.txt").read_text()
    for a, b in zip(student_arrays(finished[0], "kd-0"), student_arrays(tmp_path / "run", "kd-0"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_of_two_processes_one_works_in_a_folder_and_the_other_waits_for_its_teacher(tmp_path, home):
    """The other is refused in the same folder, and in one beside it takes what the first makes; both end in one way."""
    sets = [*SMALL, "teacher.train.epochs=20"]
    command = [sys.executable, "-m", "kdrecipes", "run", "digits", "--out", str(tmp_path / "first")]
    command += [word for text in sets for word in ("--set", text)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        try:
            said = []
            while "teacher  epoch 1/20" not in "".join(said[-1:]) and (line := first.stderr.readline()):
                said.append(line)
            recipe = load_recipe("digits", sets)
            with pytest.raises(EnvironmentProblem, match=r"Another process is running in .*first\. Wait for it"):
                kdrecipes.run(recipe, tmp_path / "first")
            kdrecipes.run(recipe, tmp_path / "second")
            said.append(first.stderr.read())
        finally:
            first.kill()
    assert first.returncode == 0, said
    log = (tmp_path / "second" / "log.txt").read_text()
    assert "another run is fine-tuning this teacher in" in log or "fine-tuned by an earlier run" in log
    assert read_teachers(tmp_path / "second")["cnn"].reused and not read_teachers(tmp_path / "first")["cnn"].reused
    assert len(list(home.glob("teachers/*"))) == len(list(home.glob("outputs/c*"))) == 1
    for label in ("baseline-0", "kd-0"):
        mine, theirs = (student_arrays(tmp_path / name, label) for name in ("first", "second"))
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
