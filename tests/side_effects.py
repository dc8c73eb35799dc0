"""What code does to the machine while a block runs: files written, programs started, hosts asked, code compiled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}
_PROGRAMS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.Popen"}
_OTHERS = {"socket.connect", "socket.getaddrinfo", "urllib.Request", "pickle.find_class", "ctypes.dlopen"}

_seen: list[str] | None = None  # while a block watches
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITES and isinstance(path, str | bytes | os.PathLike):
            _seen.append(f"wrote {os.fsdecode(path)!r}")
    elif event in _CHANGES or event in _PROGRAMS or event in _OTHERS:
        _seen.append(f"{event} {arguments!r:.200}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """The list that what this process does to the machine is added to, while the block runs, in words."""
    global _seen, _hooked
    if not _hooked:  # there is no way to take one off again
        sys.addaudithook(_hook)
        _hooked = True
    _seen = found = []
    try:
        yield found
    finally:
        _seen = None


ran: list[str] = []  # what a pickle of `Runs` has done


def run(what: str) -> None:
    ran.append(what)


class Runs:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return run, ("unpickled",)
