"""Folders that can't be written: named before anything is trained. Root is bound by their modes here as users are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

BOUND = """
import json, os, sys, tempfile
from pathlib import Path
from PIL import Image
import kdrecipes
from charts import draw_charts
from kdrecipes.components.datasets import digits
from samples import short

draw_charts(False)
there = Path.cwd()


def told(name, recipe=None):
    try:
        kdrecipes.run(recipe or short(), there / name)
        print(json.dumps("done"), flush=True)
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)


def read_only(folder):
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)


read_only(there / "shut")
told("shut")
told("shut/run")
for name in ("", "stores", "teachers", "outputs/.locks"):
    os.environ["KDRECIPES_HOME"] = str(there / f"home{len(name)}")
    read_only(there / f"home{len(name)}" / name)
    told("of_home")
os.environ["KDRECIPES_HOME"] = str(there / "home")
(there / "begun" / "state").mkdir(parents=True)
(there / "begun" / "lock.json").write_text("{}")
read_only(there / "begun" / "state")
told("begun")
print(json.dumps(sorted(path.name for path in there.iterdir())), flush=True)
for split in ("train", "test"):
    source = digits.build(split)
    for i in range(200 if split == "train" else 40):
        folder = there / "pictures" / split / str(source.labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.images[i, ..., 0]).save(folder / f"{i}.png")
for folder in ("pictures/train/0", "pictures/test", "pictures"):
    read_only(there / folder)
table = f'name="folder", path="{there / "pictures"}", validation=0.2, train="train"'
tempfile.tempdir, tempfile._candidate_tempdir_list = None, lambda: [str(there / "shut")]
told("of_data", short(f"dataset={{{table}}}", 'teacher.preflight="warn"'))
"""


def bound_by_modes():
    """From here on modes of files bind root too: a process gives up the right to pass them by."""
    import ctypes

    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="modes bind root only where Linux takes its capabilities")
def test_a_folder_that_can_not_be_written_is_named_before_anything_is_trained_and_data_are_only_read(tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", BOUND],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        cwd=tmp_path,
        preexec_fn=bound_by_modes,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = [json.loads(line) for line in process.stdout.splitlines()]
    out, kept = "Choose another folder with --out.", "Set KDRECIPES_HOME to a folder that can be written."
    expected = [
        f"{tmp_path}/shut can't be written: Permission denied. {out}",
        f"{tmp_path}/shut/run can't be written: Permission denied. {out}",
        f"{tmp_path}/home0, where caches are kept, can't be written. {kept}",
        f"{tmp_path}/home6/stores can't be written. {kept}",
        f"{tmp_path}/home8/teachers can't be written. {kept}",
        f"{tmp_path}/home14/outputs/.locks can't be written. {kept}",
        f"{tmp_path}/begun/state can't be written. {out}",
    ]
    assert told[:-2] == [f"EnvironmentProblem: {text}" for text in expected], process.stderr
    assert told[-2:] == [["begun", "home0", "home14", "home6", "home8", "shut"], "done"], process.stderr
