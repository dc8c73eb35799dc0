"""Homes and run folders that others share: a run, a sweep, a report or an export uses nothing of another user's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from other_user import OTHER
from samples import small

import kdrecipes
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.runs import doctor_folders

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of this kind here")


@pytest.fixture
def mine(finished, tmp_path, monkeypatch):
    """A finished run and its home, to be changed."""
    shutil.copytree(finished[0].parent, tmp_path / "mine")
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "mine/home"))
    return tmp_path / "mine"


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["stores", "teachers", "outputs"])
def test_a_run_takes_nothing_of_another_user_s_from_the_home_and_overwrites_nothing(mine, kind, give_away):
    entry = next(path for path in sorted((mine / "home" / kind).iterdir()) if path.name != ".locks")
    file = next(path for path in entry.rglob("*") if path.is_file() and path.stat().st_size)
    give_away(file)
    before = content(entry)
    with pytest.raises(EnvironmentProblem, match=f"{file} belongs to user {OTHER}"):
        kdrecipes.run(small(), mine / "new")
    assert content(entry) == before


@pytest.mark.slow
def test_a_home_whose_users_are_trusted_serves_a_run(mine, monkeypatch, give_away):
    for path in (mine / "home", *(mine / "home").rglob("*")):
        give_away(path)
    with pytest.raises(EnvironmentProblem, match=f"{mine / 'home'} belongs to user {OTHER}"):
        kdrecipes.run(small(), mine / "new")
    monkeypatch.setenv("KDRECIPES_TRUST_OTHERS", "1")
    assert kdrecipes.run(small(), mine / "new")["teachers"][0]["reused"]


@pytest.mark.parametrize("part", ["", "state", "students/kd-0.keras", "lock.json"])
def test_a_run_folder_with_what_another_user_owns_is_left_alone(mine, part, give_away):
    run = mine / "run"
    (run / "state").mkdir(exist_ok=True)
    give_away(run / part)
    before = content(run)
    for overwrite in (False, True):
        with pytest.raises(EnvironmentProblem, match=f"{run / part} belongs to user {OTHER}") as caught:
            kdrecipes.run(small(), run, overwrite=overwrite)
        assert "Choose another folder with --out. Where you trust" in str(caught.value)
    assert content(run) == before


def test_a_report_and_an_export_of_it_are_not_written_there_either(mine, call, give_away):
    give_away(mine / "run/report.json")
    before = content(mine / "run")
    for words in (["report", mine / "run"], ["export", mine / "run", "--format", "keras"]):
        code, out, err = call(*words)
        assert (code, out) == (3, "") and f"report.json belongs to user {OTHER}. " in err and "Copy the run" in err
    assert content(mine / "run") == before


def test_a_sweep_s_folder_is_looked_at_as_well(mine, call, give_away):
    folder = mine / "sweep"
    folder.mkdir()
    give_away(folder)
    code, out, err = call("sweep", "digits", "--grid", "loss.temperature=1,2", "--out", folder)
    assert (code, out) == (3, "") and err.startswith(f"{folder} belongs to user {OTHER}. ")
    assert list(folder.iterdir()) == []


def test_doctor_names_what_others_own_or_can_write(mine, give_away):
    def told(checks):
        return [(check.found, check.mend) for check in checks if check.state == "finding"]

    home = mine / "home"
    assert told(doctor_folders.caches()) == []
    for file in (home / "outputs").rglob("*.json"):
        give_away(file)
    ((text, mend),) = told(doctor_folders.caches())
    assert text.startswith(f"outputs: {home / 'outputs'}/") and f" belongs to user {OTHER} and " in text
    assert "KDRECIPES_TRUST_OTHERS=1" in mend
    home.chmod(0o777)
    [(text, mend)] = told(doctor_folders.folders())
    assert text == f"{home} can be written by every user" and f"`chmod go= {home}`" in mend
