"""Which process of several this one is."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this process writes what all processes of one run have in common.

    Launchers such as `torchrun` number the processes in the variable `RANK`, from 0. Without it there is one process.
    """
    return os.environ.get("RANK", "").strip() in ("", "0")
