"""How much a run tells: --quiet and --verbose on stderr, and in log.txt all of it, each line with time and level."""

import io
import re

import pytest
from rich.console import Console
from samples import SMALL

from kdrecipes.runs import run as runs
from kdrecipes.runs.clock import Clock
from kdrecipes.runs.progress import Progress, showing

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (DEBUG  |INFO   |WARNING|ERROR  )  \S")
FAST = [*SMALL, "train.epochs=1", "teacher.train.epochs=1", 'teacher.preflight="warn"']
WORDS = [word for text in FAST for word in ("--set", text)]


@pytest.mark.parametrize(
    ("amount", "told"),
    [("quiet", "Warning: odd\n"), ("normal", "a note\nWarning: odd\n"), ("verbose", "fine\na note\nWarning: odd\n")],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_stderr_gets_what_was_asked_for_and_the_log_all(tmp_path, amount, told, terminal):
    progress, text = Progress(tmp_path / "log.txt"), io.StringIO()
    progress.console = Console(file=text, force_terminal=terminal, width=80, highlight=False, soft_wrap=True)
    with showing(amount), progress.shown():
        assert bool(progress.bars) == (terminal and amount != "quiet")
        progress.detail("fine")
        progress.note("a note")
        progress.note("Warning: odd")
    if not progress.console.is_terminal or amount == "quiet":
        assert text.getvalue() == told
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [LINE.match(line)[1].strip() for line in lines] == ["DEBUG", "INFO", "WARNING"]
    progress.note("as before")
    assert "as before" in text.getvalue(), "the amount is that of the block"


def test_the_seconds_of_a_part_are_a_detail(tmp_path):
    times = iter([0.0, 1.0, 3.5])
    progress = Progress(tmp_path / "log.txt", Clock(now=lambda: next(times)))
    with progress.clock.part("arm", "kd-0"):
        pass
    assert (tmp_path / "log.txt").read_text().endswith("DEBUG    arm kd-0: 2.500 s\n")


@pytest.mark.slow
def test_a_quiet_run_says_its_result_alone_and_logs_as_a_verbose_one_shows(tmp_path, home, call):
    code, out, err = call("run", "digits", "--out", tmp_path / "quiet", "--quiet", *WORDS)
    assert code == 0 and "distilled" in out and all(line.startswith("Warning: ") for line in err.splitlines()), err
    lines = (tmp_path / "quiet/log.txt").read_text().splitlines()
    assert all(map(LINE.match, lines)), lines
    log = "\n".join(lines)
    assert "prepared digits train" in log and "DEBUG    data: " in log and "torch " in log
    code, out, err = call("resume", tmp_path / "quiet", "--verbose")
    assert code == 0 and "holds the finished run" in err and "recipe " in err.splitlines()[0], err


def test_a_traceback_stands_in_the_log_alone(tmp_path, home, call, monkeypatch):
    monkeypatch.setattr(runs, "plan_fits", lambda *a: {}["nothing"])
    code, out, err = call("run", "digits", "--out", tmp_path / "run", "--verbose", *WORDS)
    assert (code, out) == (1, "") and "Traceback" not in err and "KeyError: 'nothing'" in err
    assert re.search(r"  ERROR    Traceback ", (tmp_path / "run/log.txt").read_text())
    assert "decided of" not in err and "DEBUG" not in err


@pytest.mark.parametrize("verb", ["run digits", "resume runs/x", "sweep digits --grid loss.temperature=1,2"])
def test_both_at_once_are_refused(call, verb):
    code, out, err = call(*verb.split(), "--quiet", "--verbose")
    assert (code, out, err) == (2, "", "Give either --quiet or --verbose, not both.\n")
