"""What is said where a run's folder was removed while the run went on."""

from __future__ import annotations

from pathlib import Path

from kdrecipes.errors import RunError


def refuse_removed(run: Path) -> None:
    """Refuse to go on in a folder that is no run any more: the students to come would have no recipe beside them.

    Raises:
        RunError: when its lock.json is gone, which is written first and removed last.
    """
    if not (run / "lock.json").is_file():
        raise RunError(
            f"{run} was removed while its run went on. Remove what is left of it, and run the same command again."
        )
