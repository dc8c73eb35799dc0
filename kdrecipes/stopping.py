"""Ctrl-C and SIGTERM: a training ends its step and saves its state first; whatever else goes on ends where it is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kdrecipes.errors import Preempted

_LATER = b"\nStopping after this step, when its state is saved. A second signal stops at once.\n"

_handlers: list[Any] = []  # those that are set, the one in force last
_ways_on: list[str] = []  # commands that go on with what is being done, the outermost first
_instead: list[str] = []  # where nothing is saved: what is said in place of how to go on
_trainings: list[list[BaseException]] = []  # those that go on; each with what it was asked to stop by


@contextmanager
def stoppable(way_on: str = "") -> Iterator[None]:
    """In the block SIGTERM raises `Preempted` and Ctrl-C `KeyboardInterrupt`; in a training after its step.

    Where signals can be handled: in the main thread. A Ctrl-C that is ignored stays so, as of what a shell starts in
    the background, and a program's own handler of it stays in force.

    Args:
        way_on: a command that goes on with what the block does, for the text of both. That of an outer block comes
            first: of a sweep's point it is the sweep's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    told: list[BaseException] = []

    def stop(number: int, frame: Any) -> None:
        way = f", and so does `{_ways_on[0]}`" if _ways_on else ""
        text = _instead[-1] if _instead else f"The same command goes on after the last step that was saved{way}."
        by_term = number == signal.SIGTERM
        told.append(Preempted(f"Stopped by SIGTERM. {text}") if by_term else KeyboardInterrupt(f"Interrupted. {text}"))
        if _trainings and not _trainings[-1] and not _instead:
            _trainings[-1].append(told[-1])
            with suppress(OSError):
                os.write(2, _LATER)  # a print could meet one that the signal came into
            return
        raise told[-1]

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, *_handlers):
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    _handlers.append(stop)
    before_ways = list(_ways_on)
    _ways_on.extend([way_on] if way_on else [])
    try:
        yield
    except Exception as error:
        if told:  # a library caught it and raised something of its own
            raise told[-1] from error
        raise
    finally:
        _handlers.remove(stop)
        _ways_on[:] = before_ways
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def saving_nothing(text: str) -> Iterator[None]:
    """In the block a signal stops a training at once too, since nothing of it is to be saved.

    Args:
        text: what both exceptions say in place of how to go on.
    """
    _instead.append(text)
    try:
        yield
    finally:
        _instead.pop()


@contextmanager
def after_steps() -> Iterator[None]:
    """In the block a first signal waits for `stop_if_asked`, which is called after each step; at last for its end."""
    asked: list[BaseException] = []
    _trainings.append(asked)
    try:
        yield
    finally:
        _trainings.pop()
    if asked:
        raise asked[0]


def is_asked() -> bool:
    """Whether the training that goes on was asked to stop."""
    return bool(_trainings and _trainings[-1])


def stop_if_asked() -> None:
    """Stop the training where it was asked to, by raising what the signal raises elsewhere."""
    if is_asked():
        raise _trainings[-1][0]
