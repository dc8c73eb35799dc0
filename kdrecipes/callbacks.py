"""The built-in callback components."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdrecipes.hookspecs import Component, hookimpl


def build_csv_log(folder: str, arm: str, seed: int) -> Any:
    """A `keras.callbacks.CSVLogger` that writes `<folder>/<arm>-<seed>.csv`, one row per epoch."""
    import keras

    return keras.callbacks.CSVLogger(str(Path(folder) / f"{arm}-{seed}.csv"), append=True)


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The callback components."""
    yield Component(
        kind="callback",
        name="csv_log",
        build=build_csv_log,
        summary="writes each arm's epochs to <arm>-<seed>.csv in the run folder",
        options={
            "type": "object",
            "additionalProperties": False,
            "properties": {"folder": {"type": "string"}, "arm": {"type": "string"}, "seed": {"type": "integer"}},
        },
    )
