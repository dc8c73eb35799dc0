"""The live view: both arms' validation accuracy below the bars of a terminal, and nowhere else."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kdrecipes.runs.clock import Clock
from kdrecipes.runs.curves import MOST_COLUMNS, MOST_ROWS, chart, curves_of, room
from kdrecipes.runs.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
BRAILLE = re.compile("[\u2801-\u28ff]")


def history(*arms):
    """Rows of a history, of (arm, seed, accuracies)."""
    return [
        {"arm": arm, "seed": seed, "epoch": epoch, "val_accuracy": value}
        for arm, seed, values in arms
        for epoch, value in enumerate(values, 1)
    ]


def plain(lines):
    return ["".join(part for part, _ in line) for line in lines]


ROWS = history(("baseline", 0, [0.5, 0.6, 0.7]), ("kd", 0, [0.6, 0.8]))


# ---- The function


@given(
    baseline=st.lists(st.floats(0, 1), max_size=12),
    kd=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    more=st.integers(0, 200),
    columns=st.integers(24, MOST_COLUMNS),
    rows=st.integers(3, MOST_ROWS),
)
def test_any_curves_fill_their_room_and_no_more(baseline, kd, more, columns, rows):
    curves = curves_of(history(("baseline", 0, baseline), ("kd", 0, kd)))
    lines = plain(chart(curves, max(len(baseline), len(kd)) + more, columns, rows))
    assert len(lines) == rows + len(curves) and max(map(len, lines)) <= columns + 8
    assert BRAILLE.search("".join(lines[:rows])), "every curve has a dot at least"
    assert all(f"{100 * values[-1]:5.1f} %" in "".join(lines[rows:]) for values in (baseline, kd) if values)


@pytest.mark.slow
@given(columns=st.integers(1, 400), rows=st.integers(1, 200))
def test_a_chart_leaves_a_terminal_its_bars_and_its_lines(columns, rows):
    found = room(columns, rows)
    assert found is None or (found[0] + 8 < columns and found[1] + 2 <= rows - 10)
    assert (found is not None) == (columns >= 33 and rows >= 15)


def test_curves_are_of_the_last_seed_of_each_arm_and_never_of_a_teacher():
    rows = history(("teacher", 0, [0.9]), ("baseline", 0, [0.1]), ("kd", 0, [0.2]), ("baseline", 1, [0.3, 0.4]))
    assert curves_of(rows) == {"baseline-1": [(1, 0.3), (2, 0.4)], "kd-0": [(1, 0.2)]}
    assert curves_of([{"arm": "kd", "seed": 0, "epoch": 1}]) == {}, "an epoch that was not validated"


def test_a_rising_curve_rises_and_the_baseline_is_dotted():
    one, other = (chart({label: [(1, 0.0), (5, 1.0)]}, 5, 24, 4) for label in ("kd-0", "baseline-0"))
    solid = [line[8:] for line in plain(one)[:4]]
    assert [bool(line.strip()) for line in solid] == [True] * 4
    starts = [len(line) - len(line.lstrip()) for line in solid]
    assert starts == sorted(starts, reverse=True) and starts[-1] == 0 and len(solid[0].rstrip()) == 24

    def dots(lines):
        return sum((ord(cell) - 0x2800).bit_count() for line in lines for cell in line if BRAILLE.match(cell))

    assert 0 < dots([line[8:] for line in plain(other)[:4]]) < 0.5 * dots(solid)


def test_the_arm_of_each_part_is_told_for_its_colour():
    lines = chart(curves_of(ROWS), 3, 24, 4)
    arms = {arm for line in lines for part, arm in line if BRAILLE.search(part)}
    assert arms == {"baseline", "kd"}
    assert plain(lines)[-2:] == [
        "    ⠂⠐  baseline-0    70.0 %  ep",
        "    ⠒⠒⠒ kd-0          80.0 %  ep",
    ]
    assert plain(chart(curves_of(ROWS), 3, 60, 4))[-1] == "    ⠒⠒⠒ kd-0          80.0 %  epoch 2 of 3, validation"


# ---- Where it is shown


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """`frames(…)`: what a terminal of a size, or a stream that is none, gets while curves are shown."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def frames(terminal=True, size=(80, 24), **more):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=more.pop("encoding", "utf-8"))
        progress = Progress(tmp_path / "log.txt", Clock(0.0, lambda: 0.0))
        progress.console = Console(file=stream, force_terminal=terminal, width=size[0], height=size[1], **more)
        with progress.shown():
            progress.curves(ROWS, 5)
            if progress.bars:
                progress.bars.refresh()
            progress.note("kd-0  epoch 2/5")
        stream.flush()
        return stream.buffer.getvalue().decode()

    return frames


def test_a_terminal_shows_curves_and_their_figures_in_colour_below_the_lines(frames):
    shown = frames()
    assert BRAILLE.search(shown) and "80.0 %  epoch 2 of 5, validation" in shown
    assert "\x1b[36m" in shown and "\x1b[33m" in shown
    assert "kd-0  epoch 2/5\n" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")


def test_a_narrow_and_short_terminal_shows_them_within_its_width(frames):
    shown = frames(size=(60, 20))
    assert BRAILLE.search(shown)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("size", [(32, 24), (80, 14)])
def test_a_tiny_terminal_shows_bars_alone(frames, size):
    assert not BRAILLE.search(frames(size=size))


def test_no_terminal_no_curves(frames):
    assert frames(terminal=False) == "kd-0  epoch 2/5\n"


def test_an_encoding_without_these_characters_shows_none(frames):
    assert "validation" not in frames(encoding="latin-1")


@pytest.mark.parametrize(("variable", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_ci_and_a_dumb_terminal_show_none(frames, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert not BRAILLE.search(frames())


def test_without_colour_there_are_curves_and_no_colour(frames):
    shown = frames(no_color=True)
    assert BRAILLE.search(shown) and not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_curves_are_drawn_anew_only_after_an_epoch_or_in_another_size(monkeypatch):
    drawn = []
    monkeypatch.setattr("kdrecipes.runs.progress.chart", lambda *a: drawn.append(a[2:]) or chart(*a))
    progress = Progress(None, Clock(0.0, lambda: 0.0))
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    monkeypatch.setattr(progress, "_draws", lambda: True)
    with progress.shown():
        progress.bars.live.auto_refresh = False
        for rows in (ROWS, ROWS[:-1]):
            progress.curves(rows, 5)
            for _ in range(20):
                progress.bars.refresh()
        progress.console.width = 60
        progress.bars.refresh()
    assert len(drawn) <= 4 and drawn[-1] == (51, 6)


SCRIPT = """
import io, sys
sys.path[:0] = [{root!r}, {tests!r}]
from kdrecipes.runs.progress import Progress
progress = Progress()
with progress.shown():
    progress.curves({rows!r}, 5)
    if progress.bars:
        progress.bars.refresh()
    progress.note("a line")
"""


@pytest.mark.slow
@pytest.mark.parametrize("colour", [True, False])
def test_a_real_terminal_shows_them_and_a_pipe_does_not(colour):
    """Through a pseudo-terminal, as a process sees it."""
    code = SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"), rows=ROWS)
    environment = {**os.environ, "COLUMNS": "60", "LINES": "20", "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    for name in ("CI", "NO_COLOR"):
        environment.pop(name, None)
    if not colour:
        environment["NO_COLOR"] = "1"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    shown = seen.decode()
    assert BRAILLE.search(shown) and "80.0 %  epoch 2 of 5, validation" in shown and "a line" in shown
    assert ("\x1b[36m" in shown) == colour
    if colour:
        piped = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert (piped.returncode, piped.stderr, piped.stdout) == (0, "a line\n", "")
