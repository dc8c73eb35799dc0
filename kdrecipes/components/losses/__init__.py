"""The built-in distillation terms: one module a method.

Import the classes from their modules: `kd.KD`, `dist.DIST`, `hint.Hint`; each is called with labels and two `Outputs`.
Beside it are `models`, `datasets` and `callbacks`; `training` adds up the terms and projects features for them.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The loss components."""
    from kdrecipes.components.losses import dist, hint, kd

    yield kd.COMPONENT
    yield dist.COMPONENT
    yield hint.COMPONENT
