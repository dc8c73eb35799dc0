"""The built-in callbacks: what is attached to every arm's fit."""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The callback components."""
    from kdrecipes.components.callbacks import csv_log

    yield csv_log.COMPONENT
