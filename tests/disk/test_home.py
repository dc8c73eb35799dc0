"""Where caches live."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import kdrecipes
from kdrecipes.disk.home import check_home, home
from kdrecipes.errors import EnvironmentProblem


def test_home_follows_the_variable(monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", "~/caches")
    assert home() == Path.home() / "caches"
    monkeypatch.setenv("KDRECIPES_HOME", "")
    assert home() == Path.home() / ".cache" / "kdrecipes"


def test_home_on_linux_is_the_same_whatever_xdg_says(monkeypatch):
    monkeypatch.delenv("KDRECIPES_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert home() == Path.home() / ".cache" / "kdrecipes"


def test_home_elsewhere_is_where_the_system_keeps_caches(tmp_path):
    """In a process of its own, since platformdirs looks at the system once."""
    code = "import sys; sys.platform = 'darwin'; from kdrecipes.disk.home import home; print(home())"
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for named, expected in (("", tmp_path / "Library" / "Caches" / "kdrecipes"), ("/named", Path("/named"))):
        run = subprocess.run(
            [sys.executable, "-c", code], env=variables | {"KDRECIPES_HOME": named}, capture_output=True, text=True
        )
        assert run.stdout == f"{expected}\n", run.stderr


@pytest.fixture
def homeless(monkeypatch):
    """A process without HOME, of a user that the system does not know."""

    def nobody(user):
        raise KeyError(user)

    for name in ("HOME", "KDRECIPES_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_without_a_home_every_verb_that_needs_one_says_what_to_set(homeless, call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = "HOME is not set, and this user has no home folder. Set KDRECIPES_HOME to a folder that can be written.\n"
    for verb in (["cache", "list"], ["cache", "clear", "all"], ["run", "digits"]):
        code, out, err = call(*verb)
        assert (code, out, err) == (3, "", message), verb
    assert not list(tmp_path.iterdir())
    code, out, err = call("validate", "digits")
    assert (code, out, err) == (0, "digits  ok\n", "")


def test_a_variable_that_names_no_user_s_home_is_told_as_that(homeless, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", "~nobodyhere/x")
    with pytest.raises(
        EnvironmentProblem, match=r"KDRECIPES_HOME = ~nobodyhere/x: this user has no home folder\. Set KD"
    ):
        home()


def test_a_home_that_is_a_file_or_below_one_is_refused(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for folder, why in (("file", "is a file"), ("file/below", f"can't be made: {tmp_path / 'file'} is a file")):
        monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / folder))
        with pytest.raises(EnvironmentProblem) as caught:
            check_home()
        assert f"{tmp_path / folder}, where caches are kept, {why}. Set KDRECIPES_HOME to a folder" in str(caught.value)
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "file"))
    code, _, err = call("cache", "list")
    assert (code, err) == (3, f"{tmp_path / 'file'} is a file. Set KDRECIPES_HOME to a folder.\n")


def test_a_home_that_cannot_be_written_stops_a_run_before_it_begins(monkeypatch, tmp_path):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "mine" / "kd"))
    check_home()
    assert not (tmp_path / "mine").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who is not root
    with pytest.raises(EnvironmentProblem, match=f"mine/kd, where .*, can't be made: {tmp_path} can't be written. Set"):
        kdrecipes.run(kdrecipes.load_recipe("digits"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
