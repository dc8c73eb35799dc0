"""The built-in callbacks: what is attached to every arm's fit.

Nothing is imported from it but through the registry: a callback is built by name, once for each arm and seed.
Beside it are `datasets`, `models` and `losses`; `runs` builds callbacks and `training` hands them to Keras.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The callback components."""
    from kdrecipes.components.callbacks import csv_log

    yield csv_log.COMPONENT
