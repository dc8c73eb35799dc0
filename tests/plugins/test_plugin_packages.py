"""The packages under plugins/, installed apart and used through the command line alone, as a third party's would be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
MODULES = {path.name: path.name.replace("-", "_") for path in PACKAGES}
VERSION = "9.9.9"  # no other copy of them has it: what answers to it is what was installed here
pytestmark = pytest.mark.slow

TRAIN = """
[train]
epochs = 1
batch_size = 16
[report]
measure = false
"""
DIGITS = """
[dataset]
name = "digits"
train = "train[:48]"
validation = "train[48:64]"
test = "test[:32]"
image_size = 32
"""
RECIPES = {
    "kdrecipes-example": """
[dataset]
name = "example_shapes"
size = 16
train = "train[:48]"
validation = "train[48:64]"
test = "test[:32]"
[teacher]
name = "example_torch"
preflight = "warn"
[teacher.train]
epochs = 1
[student]
name = "example_cnn"
width = 4
[loss]
name = "example_logits"
[[callbacks]]
name = "example_log"
""",
    "kdrecipes-efficientnet-lite": DIGITS
    + """
[teacher]
name = "efficientnet_lite"
preflight = "warn"
[teacher.train]
epochs = 1
[student]
name = "efficientnet_lite"
weights = "none"
[loss]
name = "kd"
""",
    "kdrecipes-huggingface": """
[dataset]
name = "huggingface"
data = "./pictures"
train = "train[:48]"
validation = "train[48:]"
image_size = 8
[teacher]
name = "cnn"
width = 4
preflight = "warn"
[teacher.train]
epochs = 1
[student]
name = "cnn"
width = 2
[loss]
name = "kd"
""",
    "kdrecipes-transformers": DIGITS
    + """
[teacher]
name = "transformers"
model = "./resnet"
preflight = "warn"
[student]
name = "cnn"
width = 2
[loss]
name = "kd"
""",
    "kdrecipes-timm": DIGITS
    + """
[teacher]
name = "timm"
model = "test_resnet"
pretrained = false
preflight = "warn"
[student]
name = "cnn"
width = 2
[loss]
name = "kd"
""",
}
NO_TIMM = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed here: make test-timm")


def run(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds the packages, installed from copies of this repository's files."""
    folder = tmp_path_factory.mktemp("plugins")
    for package in PACKAGES:
        copy = folder / "copy" / package.name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        text = (copy / "pyproject.toml").read_text(encoding="utf-8")
        text, times = re.subn(r'^version = ".*"$', f'version = "{VERSION}"', text, flags=re.MULTILINE)
        assert times == 1
        (copy / "pyproject.toml").write_text(text, encoding="utf-8")
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--target", str(folder / "site")]
    done = run("-m", "pip", "install", "-q", *flags, *(str(folder / "copy" / p.name) for p in PACKAGES))
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def python(site, tmp_path):
    """`python("-m", "kdrecipes", …)` in an empty folder, with the packages of `site` before all others."""
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HOME": str(tmp_path / "hf")}

    def python(*words, cwd=folder):
        return run(*words, cwd=cwd, env=environment)

    python.folder = folder
    return python


def test_every_package_has_a_recipe_here():
    assert set(RECIPES) == set(MODULES)


def test_what_is_installed_here_is_what_is_used(python, site):
    done = python("-m", "kdrecipes", "list", "plugins", "--json")
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["plugins"] if row["provider"].split()[0] in MODULES]
    assert sorted(row["provider"] for row in rows) == sorted(f"{name} {VERSION}" for name in MODULES), "each once"
    assert {row["state"] for row in rows} == {"ok"} and not any(row["notes"] for row in rows)
    assert "conflict" not in done.stdout
    places = "import importlib, sys; print(*[importlib.import_module(name).__file__ for name in sys.argv[1:]])"
    done = python("-c", places, *MODULES.values())
    assert [Path(place).parent.parent for place in done.stdout.split()] == [site] * len(MODULES)


def write_pictures(folder, classes=2):
    """Noise in folders named by class: 64 images of train, 32 of test."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for split, count in (("train", 64), ("test", 32)):
        for number in range(count):
            place = folder / split / f"class {number % classes}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{number}.png")


@pytest.mark.parametrize(
    "package", [pytest.param(name, marks=NO_TIMM if name == "kdrecipes-timm" else ()) for name in RECIPES]
)
def test_a_recipe_of_its_components_runs(python, package):
    if package == "kdrecipes-transformers":
        from samples import save_transformers

        save_transformers(python.folder / "resnet", "resnet")
    if package == "kdrecipes-huggingface":
        pytest.importorskip("datasets", reason="pip install ./plugins/kdrecipes-huggingface brings datasets")
        write_pictures(python.folder / "pictures")
    text = f'schema_version = 1\nname = "tiny"\nrequires = ["{package}=={VERSION}"]\n{RECIPES[package]}{TRAIN}'
    (python.folder / "tiny.toml").write_text(text)
    done = python("-m", "kdrecipes", "validate", "tiny.toml")
    assert (done.returncode, done.stdout) == (0, "tiny.toml  ok\n"), done.stderr
    done = python("-m", "kdrecipes", "run", "tiny.toml")
    assert done.returncode == 0, done.stderr
    assert "student, distilled" in done.stdout
    lock = json.loads((python.folder / "runs/tiny/lock.json").read_text())
    assert lock["versions"][package] == VERSION and f"{package} {VERSION}" in lock["origin"]["components"].values()
    if package == "kdrecipes-example":
        assert (python.folder / "runs/tiny/kd-0.txt").read_text().startswith("epoch 1  ")


def test_the_examples_own_tests_pass(python):
    tests = ROOT / "plugins" / "kdrecipes-example" / "tests"
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), "-c", os.devnull, str(tests))
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout + done.stderr


def test_the_examples_readme_has_a_valid_recipe(python):
    (recipe,) = re.findall(r"```toml\n(.*?)```", (ROOT / "plugins/kdrecipes-example/README.md").read_text(), re.DOTALL)
    (python.folder / "shapes.toml").write_text(recipe)
    done = python("-m", "kdrecipes", "validate", "shapes.toml")
    assert (done.returncode, done.stdout) == (0, "shapes.toml  ok\n"), done.stderr
