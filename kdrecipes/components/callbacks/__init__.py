"""The built-in callbacks: trackers, which log what every arm's fit does and what the run found.

Nothing is imported from it but through the registry: a callback is built by name.
Beside it are `datasets`, `models` and `losses`; `runs` builds callbacks and `training` hands them to Keras.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The callback components."""
    from kdrecipes.components.callbacks import csv_log, mlflow_log, tensorboard_log, wandb_log

    for module in (csv_log, tensorboard_log, mlflow_log, wandb_log):
        yield module.COMPONENT
