"""`make soak` writes what it found: results/soak.json has each test's outcome and what it recorded, and no time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from soak import main, outcomes_of

ROOT = Path(__file__).resolve().parents[2]
FAMILY = ["-o", "junit_family=xunit1"]  # the one that may have properties
TESTS = """
import pytest

@pytest.mark.soak
@pytest.mark.parametrize("seed", [3, 5])
def test_kills(record_property, seed):
    record_property("kills", 30)
    record_property("seed", seed)
    record_property("of", "a sweep")

@pytest.mark.soak
@pytest.mark.parametrize("size", ["a[b]", "c"])
def test_sizes(size):
    assert size == "c"

@pytest.mark.soak
def test_elsewhere():
    pytest.skip("not here")

@pytest.fixture
def broken():
    yield
    raise OSError

@pytest.mark.soak
def test_ends_badly(broken):
    assert False

def test_of_the_suite():
    assert False
"""
FOUND = {
    "test_some.py::test_elsewhere": {"passed": 0, "failed": 0, "skipped": 1},
    "test_some.py::test_ends_badly": {"passed": 0, "failed": 1, "skipped": 0, "failures": ["test_ends_badly"]},
    "test_some.py::test_kills": {
        "passed": 2,
        "failed": 0,
        "skipped": 0,
        "recorded": {"kills": [30], "seed": [3, 5], "of": ["a sweep"]},
    },
    "test_some.py::test_sizes": {"passed": 1, "failed": 1, "skipped": 0, "failures": ["test_sizes[a[b]]"]},
}


def test_the_file_holds_outcomes_and_what_tests_recorded(tmp_path):
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = soak\n", encoding="utf-8")
    told = [sys.executable, "-m", "pytest", "-q", "-m", "soak", "-W", "error", *FAMILY, "--junitxml", "build/soak.xml"]
    assert subprocess.run(told, cwd=tmp_path, capture_output=True, timeout=100).returncode == 1
    file = tmp_path / "results" / "soak.json"
    file.parent.mkdir()
    file.write_text("an earlier one", encoding="utf-8")
    main(tmp_path / "build" / "soak.xml", file)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["tests"] == FOUND
    assert (found["passed"], found["failed"], found["skipped"]) == (3, 2, 1)
    assert found["machine"].keys() >= {"cpu", "cores", "python", "torch", "keras", "kdrecipes"}
    assert found["command"] == "make soak" and len(found["date"]) == 10
    assert "time" not in file.read_text(encoding="utf-8") and "hostname" not in file.read_text(encoding="utf-8")


def test_a_test_that_passed_and_could_not_be_put_away_has_failed():
    xml = '<a><testcase classname="a.b" name="c"/><testcase classname="a.b" name="c"><error/></testcase></a>'
    assert outcomes_of(xml) == {"a/b.py::c": {"passed": 0, "failed": 1, "skipped": 0, "failures": ["c"]}}


def test_make_soak_writes_it_and_leaves_as_the_tests_do():
    """Where they fail too, but not where the soak was broken off and has seen a part of the tests."""
    told = ["make", "-n", "--no-print-directory", "-o", ".venv/ready", "soak"]  # another make may run the tests
    recipe = subprocess.run(told, cwd=ROOT, capture_output=True, text=True)
    text = " ".join(recipe.stdout.replace("\\\n", " ").split())
    assert text.endswith(
        "-m soak -o junit_family=xunit1 --junitxml build/soak.xml; code=$?; [ $code -gt 1 ] || "
        ".venv/bin/python -m tests.soak build/soak.xml results/soak.json; exit $code"
    )


def test_a_file_that_is_skipped_whole_is_named():
    xml = '<a><testcase classname="" name="tests.a.test_b"><skipped/></testcase></a>'
    assert outcomes_of(xml) == {"tests/a/test_b.py": {"passed": 0, "failed": 0, "skipped": 1}}
