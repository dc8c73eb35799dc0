"""The chunks of a source in order, decoded by several processes where there is enough to decode."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from kdrecipes.data.reader import Chunk, Reader
from kdrecipes.errors import EnvironmentProblem

SEVERAL_FROM = 2000  # examples; fewer are decoded before processes have paid for their start
MOST_WORKERS = 16
MOST_BYTES = 100_000_000  # of a copy of the source


def read_chunks(reader: Reader, bounds: Sequence[tuple[int, int]]) -> Iterator[Chunk]:
    """Read some ranges of examples, one after the other.

    Args:
        reader: of the source.
        bounds: (start, stop) of each chunk.

    Raises:
        EnvironmentProblem: when a process died; and what `reader.read` raises.
    """
    copies = _copies(reader, bounds)
    if copies is None:
        yield from (reader.read(start, stop) for start, stop in bounds)
        return
    workers, content = copies
    # Forked, so that what a plugin or a script defined is there without importing it anew (and without running a script
    # a second time); each process unpickles a reader of its own, so that none shares an open file's position.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin, (content,))
    try:
        waiting = iter(bounds)
        coming: deque[Future[Chunk]] = deque()
        for start, stop in waiting:
            coming.append(pool.submit(_read, start, stop))
            if len(coming) > 2 * workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    except BrokenProcessPool:
        raise EnvironmentProblem(
            f"{reader.name}: a process that decodes images died; is the memory full? What was decoded is kept: run the "
            "same command again."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _copies(reader: Reader, bounds: Sequence[tuple[int, int]]) -> tuple[int, bytes] | None:
    """How many processes are to decode, and the reader for each; None where one is enough or all there can be."""
    examples = sum(stop - start for start, stop in bounds)
    workers = min(_cores(), MOST_WORKERS, len(bounds))
    if reader.arrays is not None or examples < SEVERAL_FROM or workers < 2:
        return None
    try:
        content = pickle.dumps(reader)
    except Exception:  # a stranger's source that holds what can't be copied is read here
        return None
    return (workers, content) if len(content) <= MOST_BYTES else None  # and so is one that holds its images


def _cores() -> int:
    """The processor cores that this process may use; one where forking is unsafe or not possible."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return 1


_reader: Reader | None = None  # in a decoding process


def _begin(content: bytes) -> None:
    global _reader
    # Of a terminal's bars, and with a lock that a thread of the run may have held at the fork.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is told, and ends the processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    _reader = pickle.loads(content)


def _end_with_the_run() -> None:
    """A run that is killed can't end its processes."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _read(start: int, stop: int) -> Chunk:
    assert _reader is not None
    return _reader.read(start, stop)
