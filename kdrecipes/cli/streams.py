"""The three streams of the process: there where a shell closed them, and no reason to stop where nobody reads them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress


class _Forgiving(io.FileIO):
    """A stream of what is told on the way: a terminal that is gone, or a disk that is full, must not end a run."""

    def write(self, data: object) -> int:
        with suppress(OSError):
            written: int | None = super().write(data)  # type: ignore[arg-type]
            if written is not None:  # None: the stream would make the process wait
                return written
        return len(data)  # type: ignore[arg-type]


def secure_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed, on nothing; from now on no line on stderr raises.

    A file that is opened while one of them is closed gets its number, and later all that is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != descriptor:
                os.dup2(nothing, descriptor)
                os.close(nothing)
            os.set_inheritable(descriptor, True)
    if sys.stdout is None:  # what Python makes of a closed one
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (it stays open)
    console = os.name == "nt" and sys.stderr is not None  # whose letters Python alone knows how to write
    if not console and (
        sys.stderr is None or sys.stderr is sys.__stderr__
    ):  # else somebody reads along, as pytest does
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        raw = io.BufferedWriter(_Forgiving(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale may have no letter for what is said
