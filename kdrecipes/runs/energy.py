"""The energy that the whole machine took, as its own counters tell; what has no counter is absent, never guessed."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

EVERY = 30.0  # seconds between readings: a counter of RAPL wraps after minutes, and is known to have wrapped once


@dataclass(frozen=True)
class Counter:
    """A counter: `read` gives its value or raises an OSError; at `wraps_at` it begins again; `joules` of one count."""

    read: Callable[[], int]
    wraps_at: int
    joules: float


class Meter:
    """Adds up what counters count, by what they are of.

    Args:
        counters: by name, such as "processors": those of all parts of that kind. Where one can't be read, now or
            later, the kind is left out: a part of the machine is not the machine.
    """

    def __init__(self, counters: dict[str, Sequence[Counter]]):
        self._kinds = {kind: [*several] for kind, several in counters.items() if several}
        self._last: dict[str, list[int]] = {}
        self._joules = dict.fromkeys(self._kinds, 0.0)
        self._lock = threading.Lock()
        self.read()

    def read(self) -> dict[str, float]:
        """Read the counters; returns the joules since the meter was made, by kind."""
        with self._lock:
            for kind, several in [*self._kinds.items()]:
                try:
                    now = [counter.read() for counter in several]
                except (OSError, ValueError):
                    del self._kinds[kind], self._joules[kind]
                    continue
                before = self._last.get(kind, now)
                for counter, old, new in zip(several, before, now, strict=True):
                    self._joules[kind] += (new - old if new >= old else new + counter.wraps_at - old) * counter.joules
                self._last[kind] = now
            return dict(self._joules)

    def told(self) -> dict[str, float]:
        """The joules since the meter was made, by kind, as report.json has them."""
        return {kind: round(joules, 1) for kind, joules in self.read().items()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs, the counters are read often enough that none wraps twice unseen."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(EVERY):
                self.read()

        if self._kinds:
            threading.Thread(target=watch, daemon=True, name="energy").start()
        try:
            yield
        finally:
            over.set()


def machine() -> Meter:
    """A meter of this machine: its "processors", by RAPL, which on most machines root alone may read; its "gpus"."""
    driver = partial(ctypes.CDLL, "libnvidia-ml.so.1")
    return Meter({"processors": rapl(Path("/sys/class/powercap")), "gpus": nvml(driver)})


def rapl(powercap: Path) -> list[Counter]:
    """The counters of a machine's processor packages, in microjoules; parts of a package are in its own."""
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            if folder.name.count(":") == 1 and (folder / "name").read_text().startswith("package"):
                wraps_at = int((folder / "max_energy_range_uj").read_text())
                found.append(Counter(partial(_number, folder / "energy_uj"), wraps_at, 1e-6))
    return found


def _number(file: Path) -> int:
    return int(file.read_text())


def nvml(load: Callable[[], Any]) -> list[Counter]:
    """The counters of all NVIDIA GPUs, in millijoules since their driver was loaded; `load` gives its library."""
    try:
        library, count = load(), ctypes.c_uint()
        if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        return [Counter(partial(_gpu_millijoules, library, index), 0, 1e-3) for index in range(count.value)]
    except (OSError, AttributeError):  # no driver, or an older one
        return []


def _gpu_millijoules(library: Any, index: int) -> int:
    """Raises an OSError where the GPU counts no energy."""
    device, counted = ctypes.c_void_p(), ctypes.c_ulonglong()
    try:
        failed = library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        failed = failed or library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(counted))
    except AttributeError:
        failed = True
    if failed:
        raise OSError(f"GPU {index} counts no energy")
    return counted.value
