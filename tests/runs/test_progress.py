"""What a person sees: a line per epoch without a terminal, bars with one, the expected time after twenty steps."""

import io
from contextlib import suppress

import pytest
from rich.console import Console

from kdrecipes.runs.clock import Clock
from kdrecipes.runs.progress import ESTIMATE_AFTER, PlannedFit, Progress


@pytest.fixture
def shown(tmp_path):
    """`shown(terminal)` gives a Progress and the text it has written."""

    def make(terminal=False):
        progress = Progress(tmp_path / "log.txt", Clock(0.0, lambda: 0.0))
        text = io.StringIO()
        progress.console = Console(file=text, force_terminal=terminal, width=160, highlight=False)
        return progress, text

    return make


def fit(watcher, epochs, steps, done=0):
    watcher.on_train_begin()
    for epoch in range(done, epochs):
        watcher.on_epoch_begin(epoch)
        for step in range(steps):
            watcher.on_train_batch_end(step, {"loss": 1.0})
        watcher.on_epoch_end(epoch, {"loss": 0.5, "accuracy": 0.9, "val_loss": 0.75, "val_accuracy": 0.8125})
    watcher.on_train_end()


def test_one_line_per_epoch_without_a_terminal_and_in_the_log(shown, tmp_path):
    progress, text = shown()
    with progress.shown():
        fit(progress.watch("kd-0", 3)(1, 5), 3, 5, done=1)
    lines = text.getvalue().splitlines()
    assert [line[:16] for line in lines] == ["kd-0  epoch 2/3 ", "kd-0  epoch 3/3 "]
    assert "loss 0.5000" in lines[0] and "val_accuracy 0.8125" in lines[0] and "\x1b" not in text.getvalue()
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2
    assert progress.continued == {"kd-0"}, "an earlier process did the first epoch"


def test_a_large_store_is_told_before_it_is_filled(shown):
    progress, text = shown()
    progress.preparing("food101 train", 0, 75_750, 75_750 * 256 * 256 * 3, 0)
    assert text.getvalue() == "preparing food101 train: 75,750 images to decode, 14.9 GB on disk\n"
    progress.preparing("food101 train", 900, 75_750, 75_750 * 256 * 256 * 3, 0)
    progress.preparing("digits train", 0, 20, 3840, 0)
    assert text.getvalue().count("\n") == 1


def test_a_store_that_is_read_once_more_is_told_before_it_is(shown):
    progress, text = shown()
    for done in (0, 40_000, 75_750):
        progress.preparing("food101 train", done, 75_750, 0, 0)
        assert text.getvalue() == (
            "checking the store of food101 train, which lacks checksums of its images: 75,750 to read\n"
        )
    progress.preparing("food101 train", 0, 75_750, 75_750 * 256 * 256 * 3, 0)  # it was damaged
    assert "preparing food101 train: 75,750 images to decode" in text.getvalue()


def test_a_terminal_gets_bars_with_time_left(shown):
    progress, text = shown(terminal=True)
    with progress.shown():
        progress.preparing("digits train", 10, 20, 3840, 0)
        progress.preparing("digits train", 20, 20, 3840, 0)
        fit(progress.watch("kd-0", 2)(0, 4), 2, 4)
    assert "preparing digits train" in text.getvalue() and "kd-0" in text.getvalue()
    assert "prepared digits train: 20 images" in text.getvalue() and "epoch 2/2" in text.getvalue()


@pytest.mark.parametrize(("first", "minutes"), [("teacher", 25), ("baseline-0", 15)])
def test_expected_time_counts_what_is_still_to_do(shown, first, minutes):
    """100 teacher steps of 6 s, 100 of 3 s and 100 of 6 s: a cached teacher's are not counted."""
    progress, text = shown()
    progress.plan = [PlannedFit("teacher", 100, 0.2), PlannedFit("baseline-0", 100, 0.1), PlannedFit("kd-0", 100, 0.2)]
    progress.estimate(first, 6.0 if first == "teacher" else 3.0)
    progress.estimate(first, 60.0)  # told once
    assert text.getvalue().count("the run will take about") == 1
    assert f"about {minutes} min in all" in text.getvalue()


def test_expected_time_is_that_of_the_whole_run(shown):
    """90 s so far; 100 steps of 6 s, in place of 0.1 s; validation and tests of 1 s and 2 s, slower alike: 870 s."""
    progress, text = shown()
    progress.clock.now = lambda: 90.0
    progress.plan = [PlannedFit("kd-0", 100, 0.1, 1.0), PlannedFit("tests", 0, 0.0, 2.0)]
    progress.estimate("kd-0", 6.0)
    assert "the run will take about 14 min in all, from its data to its tests (6.00 s a step here)" in text.getvalue()


def test_expected_time_leaves_out_steps_done_by_an_earlier_run(shown):
    progress, text = shown()
    progress.plan = [PlannedFit("kd-0", 100, 0.1)]
    progress.estimate("kd-0", 6.0, done=60)
    assert "about 4 min in all" in text.getvalue()


def test_expected_time_comes_after_twenty_steps_of_the_first_fit(shown):
    progress, text = shown()
    progress.plan = [PlannedFit("baseline-0", 100, 0.1)]
    watcher = progress.watch("baseline-0", 1)(0, 100)
    watcher.on_epoch_begin(0)
    for step in range(ESTIMATE_AFTER - 1):
        watcher.on_train_batch_end(step)
    assert text.getvalue() == ""
    watcher.on_train_batch_end(ESTIMATE_AFTER - 1)
    assert "the run will take about" in text.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_teacher_outputs_are_shown_and_counted_in_the_expected_time(shown, monkeypatch, terminal):
    """1,000 views at 0.1 s, then 100 steps of an arm; a step of 10 views was rehearsed in 1 s, one of the arm in 2."""
    now = [0.0]
    monkeypatch.setattr("kdrecipes.runs.progress.time.monotonic", lambda: now[0])
    progress, text = shown(terminal=terminal)
    progress.plan = [PlannedFit("teacher outputs", 100, 1.0), PlannedFit("kd-0", 100, 2.0)]
    with progress.shown():
        progress.teaching("teacher outputs", 0, 1000)
        now[0] += 60  # the first batch is slow and no measure
        for done in range(10, 1010, 10):
            progress.teaching("teacher outputs", done, 1000)
            now[0] += 1
    assert ("teacher outputs: computing 1,000 views" in text.getvalue()) == (not terminal)
    told = "the run will take about 5 min in all, from its data to its tests (1.00 s a step here)"
    assert text.getvalue().count(told) == 1


def test_a_name_that_is_not_utf8_is_shown_and_logged(tmp_path):
    progress, stream = Progress(tmp_path / "log.txt"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    progress.console = Console(file=stream)
    progress.note(b"caf\xe9".decode("utf-8", "surrogateescape"))
    stream.flush()
    assert stream.buffer.getvalue() == b"caf\\xe9\n" and (tmp_path / "log.txt").read_bytes().endswith(b"  caf\\xe9\n")


def test_what_is_prepared_is_what_can_be_read(shown):
    progress, text = shown()
    progress.preparing("pets train", 240, 240, 3840, 60)
    assert text.getvalue() == "prepared pets train: 180 images; 60 more can't be read\n"


def test_a_stream_that_takes_nothing_stops_no_run_and_the_log_has_the_line(shown, tmp_path):
    progress, _ = shown()
    full = open("/dev/full", "w")  # noqa: SIM115 (closing it fails too)
    progress.console = Console(file=full)
    progress.note("told")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").endswith("INFO     told\n")
    with suppress(OSError):
        full.close()
