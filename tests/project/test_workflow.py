"""What runs the checks agrees with what they are: the workflow, .ci/run and the Makefile name the same things."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ["lint", "docs", "browser", "test"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def job(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"][name]


def commands(name: str) -> list[str]:
    return [step["run"] for step in job(name)["steps"] if "run" in step]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_workflow_runs_every_python_of_the_classifiers():
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in project()["classifiers"]]
    named = [match[1] for match in found if match]
    assert job("test")["strategy"]["matrix"]["python"] == named
    assert project()["requires-python"] == f">={named[0]}"


def test_the_workflow_runs_on_linux_and_macos():
    assert job("test")["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest"]
    assert job("test")["runs-on"] == "${{ matrix.os }}"


def test_the_workflow_and_ci_run_make_the_same_checks_in_one_order():
    assert commands("test") == [f"make {check} PYTHON=python" for check in CHECKS]
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    made = [line.partition(" ||")[0] for line in lines if line.startswith("make")]
    assert made == [f"make {check}" for check in CHECKS]
    assert "set -euo pipefail" in lines


def test_every_action_is_pinned_to_a_major_version():
    used = [step["uses"] for name in ("test", "light", "newest") for step in job(name)["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used), used


def test_the_newest_versions_are_tested_without_constraints():
    assert commands("newest") == ["make test PYTHON=python CONSTRAINTS="]
    # LiteRT's converter asks for older versions than constraints.txt names, and timm for a torchvision, which its torch
    # lacks: both have an environment of their own.
    own = ("venv-litert", "venv-timm")
    pip = [line for line in MAKEFILE.splitlines() if "pip install" in line and not any(one in line for one in own)]
    assert pip and all("$(CONSTRAINTS)" in line and "constraints.txt" not in line for line in pip)
    assert "CONSTRAINTS ?= -c constraints.txt\n" in MAKEFILE


def test_the_workflow_installs_nothing_but_through_make():
    for name in ("test", "newest"):
        assert all(command.startswith("make ") for command in commands(name))


def test_the_plain_installation_validates_every_shipped_recipe_without_torch():
    install, validate, without = commands("light")
    assert install == "pip install . ./plugins/kdrecipes-efficientnet-lite"
    assert validate == "kdrecipes validate --format github recipes/" and "find_spec('torch')" in without


def test_make_installs_what_runs_need():
    assert "-e '.[run,test,lint]'" in MAKEFILE


def test_the_command_that_the_readme_shows_installs_what_runs_need():
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "pip install '.[run]' ./plugins/kdrecipes-efficientnet-lite" in text, page


def test_the_makefiles_first_lines_list_its_targets():
    head = MAKEFILE.partition("\n\n")[0]
    [targets] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+) ", head)) == set(targets.split())
