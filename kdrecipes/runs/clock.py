"""Where the time of a run goes: its parts, one after the other, by a clock that can't be set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

# Who did the work: this process, an earlier one or an earlier run, whose result was found, or both.
By = Literal["this", "earlier", "both"]


@dataclass
class Part:
    """A part of a run: what it is, of which teacher or student, the seconds of this process, and who did the work."""

    part: str
    of: str = ""
    seconds: float = 0.0
    by: By = "this"


@dataclass
class Clock:
    """The parts of a run, in order, and its wall time.

    Attributes:
        began: when the run did, by `now`; the command line gives the time of its own start.
        now: gives seconds.
        parts: those that have ended.
        ended: is told of each part as it ends.
    """

    began: float | None = None
    now: Callable[[], float] = time.monotonic
    parts: list[Part] = field(default_factory=list)
    ended: Callable[[Part], None] = lambda part: None

    def __post_init__(self) -> None:
        here = self.now()
        if self.began is None:
            self.began = here
        else:
            self.parts.append(Part("start", seconds=here - self.began))

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self.now() - (self.began or 0.0)

    @contextmanager
    def part(self, part: str, of: str = "") -> Iterator[Part]:
        """Measure the block; it may say who did the work. Blocks are not nested, so that seconds add up."""
        measured, started = Part(part, of), self.now()
        yield measured
        measured.seconds = self.now() - started
        self.parts.append(measured)
        self.ended(measured)

    def found(self, part: str, of: str = "") -> None:
        """A part that an earlier process did."""
        self.parts.append(Part(part, of, by="earlier"))

    def told(self) -> dict[str, Any]:
        """`wall`, in seconds, and `parts`, which together never take longer, as report.json has them."""
        wall = self.seconds
        parts = [{**asdict(part), "seconds": math.floor(part.seconds * 1000) / 1000} for part in self.parts]
        for part in parts:
            if not part["of"]:
                del part["of"]
        return {"wall": math.ceil(wall * 1000) / 1000, "parts": parts}
