"""Memory as a process of one's own has it: a run asks glibc to keep what is freed, stock Keras and its users don't."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from kdrecipes.backend import keep_freed_memory

# malloc.h, and where glibc's own settings arrive once large blocks were freed.
_SETTINGS = {-4: 65_536, -3: 32 * 2**20, -1: 64 * 2**20}  # M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def as_glibc_has_it(call: Callable[[], Any]) -> Callable[[], Any]:
    """The same call under glibc's own settings; a run's come back after it. Elsewhere than on glibc, the call."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return call

    def called() -> Any:
        for name, value in _SETTINGS.items():
            mallopt(name, value)
        try:
            return call()
        finally:
            keep_freed_memory()

    return called
