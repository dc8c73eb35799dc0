"""A store whose images several processes decode: the same one, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from stored import BUILDER, Source, line, opened, pictures

from kdrecipes.data import parallel_reader as decoding
from kdrecipes.data import store as store_module
from kdrecipes.errors import EnvironmentProblem, RunError

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def several(monkeypatch):
    """Ten examples are enough for three processes."""
    monkeypatch.setattr(decoding, "SEVERAL_FROM", 10)
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(store_module, "_CHUNK", 4)


def mixed(count=50):
    images = [*pictures(count)]
    images[3], images[40] = ValueError("damaged"), pictures(1, 9, 7, 4)[0]
    return images


SETTINGS = {"image_size": 5, "store_size": 5}


def test_several_processes_make_the_same_store(several):
    source = Source(mixed())
    store = opened(source, **SETTINGS)
    assert source.reads == 0  # theirs are copies
    decoding.SEVERAL_FROM = 1000
    alone = opened(Source(mixed(), fingerprint="g"), **SETTINGS)
    assert store.fingerprint == alone.fingerprint and store.skipped == alone.skipped == [("picture-3.png", "damaged")]
    assert store.converted == alone.converted == 1


def test_a_source_that_cant_be_copied_is_read_here(several):
    source = Source(mixed())
    source.handle = lambda: None
    assert len(opened(source, **SETTINGS)) == 49 and source.reads == 50


def test_a_source_that_holds_its_images_is_not_copied(several, monkeypatch):
    monkeypatch.setattr(decoding, "MOST_BYTES", 1000)
    source = Source(mixed())
    assert len(opened(source, **SETTINGS)) == 49 and source.reads == 50


class Talking(Source):
    def __getitem__(self, i):
        print("a warning", file=sys.stderr)
        return super().__getitem__(i)


def test_a_process_writes_past_whatever_stands_for_stderr(several, monkeypatch):
    """Such as a terminal's bars, with a lock that a thread of the run held when it was forked."""

    class Held:
        def write(self, text):
            raise AssertionError("the bars are not a process's to draw")

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stderr", Held())
    assert len(opened(Talking(mixed()), **SETTINGS)) == 49


def test_what_a_process_raises_is_told_as_if_it_were_read_here(several):
    with pytest.raises(RunError, match=r"picture-33\.png has label 7; with 3 classes"):
        opened(Source(pictures(50), [7 if i == 33 else 0 for i in range(50)]), **SETTINGS)


class Deadly(Source):
    def __getitem__(self, i):
        if i == 30 and self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


def test_a_process_that_dies_is_told_and_what_was_decoded_is_kept(several):
    source = Deadly(pictures(50))
    source.deadly = True
    with pytest.raises(EnvironmentProblem, match=r"a process that decodes images died; is the memory full\?"):
        opened(source, **SETTINGS)
    source.deadly = False
    decoding.SEVERAL_FROM = 1000
    assert len(opened(source, **SETTINGS)) == 50


SEVERAL = BUILDER.replace(
    "source = Source()",
    """
from kdrecipes.data import parallel_reader as decoding, store
decoding.SEVERAL_FROM, store._CHUNK = 1, 5
decoding.os.sched_getaffinity = lambda _: {0, 1}
Source.__getitem__ = lambda self, i: (print("reading", flush=True), __import__("threading").Event().wait())
source = Source()""",
)


def test_processes_end_with_a_run_that_is_killed():
    """They hold the pipe open: its end comes when all are gone."""
    process = subprocess.Popen([sys.executable, "-c", SEVERAL], stdout=subprocess.PIPE, text=True)
    assert line(process) == "opening" and line(process) == "reading"
    process.kill()
    process.communicate(timeout=60)
