"""Processes killed at random moments and begun again: `python killed.py run FOLDER TIMES SEED`, for tests.

`run` kills one process that works on a run, `sweep` one or both of two that share a sweep. Of five kills one comes at a
random time, sent from outside. The others come just before a random one of the operations by which files appear, change
their name and go, which a random time hits too rarely: one before any, three while a fit's state lies on the disk. All
are SIGKILL.

Prints one JSON object: the seed, how many kills there were, how many of them at such an operation, how many left the
state of a fit, how many processes began, and in `problems` what was not as it should be. Each process is a fork of this
one, which has computed nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "torch"
from charts import draw_charts
from samples import SMALL, short
from timeless_results import difference, networks, timeless

import kdrecipes
from kdrecipes.disk.json_files import read_json
from kdrecipes.recipe.sweep import load_sweep
from kdrecipes.runs.sweep import run_sweep

_CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir")  # as Python's audit events call them
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST = 120.0  # seconds that whatever is begun here may take


class Begun(NamedTuple):
    """A process that was begun, and the pipe in which it counts its operations."""

    pid: int
    counted: int


class Case(NamedTuple):
    """What is killed.

    Attributes:
        work: does it in a folder; what was done there before is gone on with.
        result: what it ends with, times aside.
        processes: how many share it.
    """

    work: Callable[[Path], None]
    result: Callable[[Path], Any]
    processes: int


def begin(work: Callable[[Path], None], folder: Path, stop_at: int = 0, with_state: bool = False) -> Begun:
    """Begin a process that does the work.

    Args:
        work, folder: see `Case`.
        stop_at: it kills itself before the operation of this number; 0: never.
        with_state: only those count before which a fit of its own has left a state on the disk.
    """
    reads, writes = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(writes)
        return Begun(child, reads)
    signal.alarm(int(_LONGEST))
    for name in ("home", "tmp", "user"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"KDRECIPES_HOME": f"{folder}/home", "TMPDIR": f"{folder}/tmp", "HOME": f"{folder}/user"}
    tempfile.tempdir = None
    os.dup2(os.open(folder.parent / f"{folder.name}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.chdir(folder / "user")  # what is written under no folder's name lies there
    _count_operations(str(folder), writes, stop_at, with_state)
    try:
        work(folder)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def _count_operations(folder: str, counted: int, stop_at: int, with_state: bool) -> None:
    """Tell of each of this process's operations on files in a folder a byte, see `end`; before one of them kill it."""
    done, kept = 0, False

    def hear(event: str, args: tuple[Any, ...]) -> None:
        nonlocal done, kept
        written = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not (written or event in _CHANGES) or not str(args[0]).startswith(folder):
            return
        done += kept or not with_state
        if done == stop_at and (kept or not with_state):
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(counted, b"s" if kept else b".")
        if event == "os.rename" and str(args[1]).endswith("/state/last"):
            kept = True
        elif event == "os.remove" and str(args[0]).endswith("/state/last"):
            kept = False

    sys.addaudithook(hear)


def end(process: Begun) -> tuple[int, bytes]:
    """Wait for a process; its status, and its operations. A pipe holds 64 KiB, which are enough.

    Each operation is a byte: "s" where a fit of this process had left a state on the disk before it, else ".".
    """
    status = os.waitpid(process.pid, 0)[1]
    os.set_blocking(process.counted, False)  # another process may have it open still
    done = b""
    with suppress(BlockingIOError):
        while told := os.read(process.counted, 1 << 16):
            done += told
    os.close(process.counted)
    return status, done


class Kill(NamedTuple):
    """What was done, in words; whether before an operation; whether it ended anything, and left a fit's state."""

    told: str
    at_operation: bool
    hit: bool
    left_state: bool


def killed(case: Case, folder: Path, draw: random.Random, took: float, operations: bytes) -> Kill:
    """Begin what is killed, and kill; all of it, or of several processes one, and then wait for the others."""
    chosen, both = draw.choices(("time", "operation", "state"), (1, 1, 3))[0], draw.random() < 0.5
    at_operation, with_state = chosen != "time", chosen == "state"
    among = operations.count(b"s") if with_state else len(operations)
    stop_at = draw.randint(1, among) if at_operation else 0
    moment = draw.uniform(0.0, took)
    group = [begin(case.work, folder, stop_at if number == 0 else 0, with_state) for number in range(case.processes)]
    if not at_operation:
        time.sleep(moment)
        os.kill(group[0].pid, signal.SIGKILL)
    first = end(group[0])[0]
    left_state = has_state(folder)
    for other in group[1:]:
        if both:
            with suppress(ProcessLookupError):
                os.kill(other.pid, signal.SIGKILL)
    rest = [end(other)[0] for other in group[1:]]
    told = (
        f"before operation {stop_at} of {among}{' with a state' * with_state}"
        if at_operation
        else f"after {moment:.3f} of {took:.3f} s"
    )
    told = f"{'all' if both and rest else 'one'} killed {told}"
    if any(status not in (0, signal.SIGKILL) for status in [first, *rest]):
        told += f" (statuses {[first, *rest]})"
    hit = signal.SIGKILL in [first, *rest]
    return Kill(told, at_operation and hit, hit, left_state and hit)


def has_state(folder: Path) -> bool:
    """Whether a fit's state is in a folder, in which another process may remove what was just listed."""
    listed = os.walk(folder)
    return any(Path(place).name == "state" and not {"last", "prev"}.isdisjoint(names) for place, _, names in listed)


def orphans() -> str:
    """Who is left of processes that have ended; each has ten seconds to end."""

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return ""
    except TimeoutError:
        return f"processes are left: {Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read_text().strip()}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def files(folder: Path) -> set[str]:
    """All that is in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def one_run(folder: Path) -> None:
    """A run that saves its state after each step."""
    recipe = short("train.epochs=2", "train.save_every_seconds=0", "compare.baseline=false")
    kdrecipes.run(recipe, folder / "out")


def run_result(folder: Path) -> dict[str, Any]:
    out = folder / "out"
    return {
        "history": [timeless(json.loads(line)) for line in (out / "history.jsonl").read_text().splitlines()],
        "report": timeless(json.loads((out / "report.json").read_text())),
        "status": timeless(json.loads((out / "status.json").read_text())),
        "predictions": (out / "predictions.npz").read_bytes(),
        "networks": networks(out),
    }


def one_sweep(folder: Path) -> None:
    """One of those who share a sweep."""
    sets = [*SMALL, "student.width=4", "teacher.train.epochs=1", "train.epochs=1", "train.save_every_seconds=0"]
    results = run_sweep(load_sweep("digits", sets, grid=["loss.temperature=1,2,4"]), folder / "out")
    assert results["status"] == "done", results


def sweep_result(folder: Path) -> dict[str, Any]:
    """Which point trained a student that several share depends on who came first; their number does not."""
    out = folder / "out"
    results = timeless(json.loads((out / "sweep.json").read_text()))
    trained = sum(point.pop("arms_trained") for point in results["points"])
    shared = sum(point.pop("arms_shared") for point in results["points"])
    points = {}
    for point in results["points"]:
        place = out / "points" / point["point"]
        points[point["point"]] = {
            "history": [timeless(json.loads(line)) for line in (place / "history.jsonl").read_text().splitlines()],
            "arms": timeless(read_json(place / "facts/arms.json")),
            "status": timeless(json.loads((place / "status.json").read_text())),
            "validation": (place / "validation.npz").read_bytes(),
            "networks": networks(place),
        }
    return {"sweep": results, "trained": trained, "shared": shared, "points": points}


CASES = {"run": Case(one_run, run_result, 1), "sweep": Case(one_sweep, sweep_result, 2)}


def ended(case: Case, folder: Path, expected: Any, left: set[str]) -> str:
    """What is wrong with what the same processes make of what is there, in words; empty where nothing is."""
    statuses = [end(one)[0] for one in [begin(case.work, folder) for _ in range(case.processes)]]
    if any(statuses):
        told = (folder.parent / f"{folder.name}.err").read_text()[-600:]
        return f"the same command does not complete (statuses {statuses}): {told}"
    if told := difference(case.result(folder), expected):
        return f"it ends with another result: {told}"
    there = files(folder)
    if there != left:
        return f"left {sorted(there - left)}, lacks {sorted(left - there)}"
    return orphans()


def main(name: str, folder: Path, times: int, seed: int) -> None:
    """Kill as often."""
    case, draw = CASES[name], random.Random(seed)
    draw_charts(False)  # they are most of the time, and in none of it is anything written
    short()  # each fork would load the plugins anew
    with suppress(OSError, AttributeError):  # Linux alone: whoever loses its parent becomes a child of this process
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began, whole = time.monotonic(), folder / "whole"
    counts = [end(one) for one in [begin(case.work, whole) for _ in range(case.processes)]]
    took, operations = time.monotonic() - began, min((told for _, told in counts), key=lambda told: told.count(b"s"))
    assert not any(status for status, _ in counts), (folder / "whole.err").read_text()
    expected, left, problems = case.result(whole), files(whole), []
    kills: list[Kill] = []
    processes = case.processes
    for number in range(2 * times):  # some end before they are killed
        if len(kills) == times:
            break
        place = folder / str(number)
        kill = killed(case, place, draw, took, operations)
        alone = orphans()
        kills += [kill] if kill.hit else []
        processes += 2 * case.processes
        if wrong := alone or ended(case, place, expected, left):
            problems.append(f"{number}, {kill.told}: {wrong}")
            print(problems[-1], file=sys.stderr, flush=True)
    record = {
        "seed": seed,
        "kills": len(kills),
        "at_operations": sum(one.at_operation for one in kills),
        "left_states": sum(one.left_state for one in kills),
        "processes": processes,
        "seconds": round(time.monotonic() - began, 1),
        "problems": problems,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
