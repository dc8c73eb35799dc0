"""`csv_log`: an arm's epochs as a table in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options


def build(folder: str, arm: str, seed: int) -> Any:
    """A `keras.callbacks.CSVLogger` that writes `<folder>/<arm>-<seed>.csv`, one row per epoch."""
    import keras

    return keras.callbacks.CSVLogger(str(Path(folder) / f"{arm}-{seed}.csv"), append=True)


COMPONENT = Component(
    kind="callback",
    name="csv_log",
    build=build,
    summary="writes each arm's epochs to <arm>-<seed>.csv in the run folder",
    options=options("callback", build),
)
