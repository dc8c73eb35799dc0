"""What tests of datasets share: places of their own, no network, no process."""

from __future__ import annotations

import subprocess

import pytest
from samples import offline

from kdrecipes.components.datasets import fashion_mnist


@pytest.fixture
def places(tmp_path, home, monkeypatch):
    """Nothing outside the test's own folder is read or written, and there is no network."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(fashion_mnist, "ROOT", tmp_path / "root")
    offline(monkeypatch)


@pytest.fixture
def no_child(monkeypatch):
    """Starting a process is an error."""

    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
