"""Where caches live."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kdrecipes.disk.home import home


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
