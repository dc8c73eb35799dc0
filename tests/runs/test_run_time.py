"""A run's report says where its time went, and what of it an earlier process or run had done."""

from __future__ import annotations

import json
import shutil

import pytest
from samples import small

import kdrecipes
from kdrecipes.report.build import rebuild_report


def parts(report):
    return [(part["part"], part.get("of", ""), part["by"]) for part in report["time"]["parts"]]


def test_the_parts_of_a_run_are_told_in_order_and_fit_into_its_wall_time(finished):
    _, report = finished
    assert parts(report) == [
        ("data", "", "this"),
        ("rehearsal", "", "this"),
        ("teacher", "cnn", "this"),
        ("outputs", "cnn", "this"),
        ("arm", "baseline-0", "this"),
        ("arm", "kd-0", "this"),
        ("evaluation", "", "this"),
        ("writing", "", "this"),
    ]
    seconds = {(part["part"], part.get("of")): part["seconds"] for part in report["time"]["parts"]}
    assert 0 < sum(seconds.values()) <= report["time"]["wall"]
    for arm in report["arms"]:
        assert arm["seconds"] <= seconds["arm", f"{arm['arm']}-{arm['seed']}"] + 1e-3, "with building and saving it"
    (teacher,) = report["teachers"]
    assert teacher["seconds"]["fit"] <= seconds["teacher", "cnn"] + 1e-3


@pytest.mark.slow
def test_what_was_found_is_told_as_such(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(finished[0].parent / "home"))
    shutil.copytree(finished[0], tmp_path / "run")
    report = kdrecipes.run(small("compare.seeds=[0, 1]"), tmp_path / "run")
    by = {(part, of): by for part, of, by in parts(report)}
    assert by == {
        ("data", ""): "earlier",
        ("rehearsal", ""): "this",
        ("teacher", "cnn"): "earlier",
        ("outputs", "cnn"): "earlier",
        ("arm", "baseline-0"): "earlier",
        ("arm", "kd-0"): "earlier",
        ("arm", "baseline-1"): "this",
        ("arm", "kd-1"): "this",
        ("evaluation", ""): "this",
        ("writing", ""): "this",
    }
    again = rebuild_report(tmp_path / "run")
    assert again["time"] == report["time"] == json.loads((tmp_path / "run" / "report.json").read_text())["time"]
