"""Where a run's time went: parts that never take longer together than the run did."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.runs.clock import Clock

SECONDS = st.floats(0, 1e5, allow_nan=False)


def clock_of(times, began=None):
    """A clock to which those times are shown, one after the other."""
    shown = iter(times)
    return Clock(began, lambda: next(shown))


def test_parts_and_wall_time_are_measured_one_after_the_other():
    clock = clock_of([10.0, 11.0, 13.5, 14.0, 14.25, 20.0])
    with clock.part("data") as part:
        part.by = "earlier"
    with clock.part("arm", "kd-0"):
        pass
    clock.found("arm", "kd-1")
    assert clock.told() == {
        "wall": 10.0,
        "parts": [
            {"part": "data", "seconds": 2.5, "by": "earlier"},
            {"part": "arm", "of": "kd-0", "seconds": 0.25, "by": "this"},
            {"part": "arm", "of": "kd-1", "seconds": 0.0, "by": "earlier"},
        ],
    }


def test_what_a_command_did_before_its_run_is_a_part_of_it():
    clock = clock_of([12.0, 15.0], began=10.0)
    assert clock.told() == {"wall": 5.0, "parts": [{"part": "start", "seconds": 2.0, "by": "this"}]}


@given(st.lists(SECONDS, min_size=2, max_size=20))
def test_parts_never_take_longer_than_the_run(steps):
    times = [sum(steps[:i]) for i in range(len(steps) + 1)]
    if len(times) % 2:
        times.append(times[-1])
    clock = clock_of(times)
    for _ in range((len(times) - 2) // 2):
        with clock.part("data"):
            pass
    told = clock.told()
    assert sum(part["seconds"] for part in told["parts"]) <= told["wall"] + 1e-6


def test_a_part_that_fails_is_not_told():
    clock = clock_of([0.0, 1.0, 2.0])
    try:
        with clock.part("data"):
            raise ValueError
    except ValueError:
        pass
    assert clock.parts == []
