"""How long was worked on a point of a sweep, over all times that a process took it up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from kdrecipes.runs.folder import RunFolder


class TimeWorked:
    """Goes on from what the point's status.json says, and keeps it there.

    Args:
        folder: of the point.
    """

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self._before = float(folder.status.get("seconds", 0.0))
        self._began, self._idle = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Of work so far, in all; at least 0."""
        return self._before + time.monotonic() - self._began - self._idle

    def note(self) -> None:
        """Have the time so far written with the point's next status."""
        self.folder.status["seconds"] = round(self.seconds, 3)

    def keep(self) -> None:
        """Write the time so far down: a process that is killed after this loses nothing of it."""
        self.note()
        self.folder.set_status("running")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """In the block nobody works on the point."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._idle += time.monotonic() - began
