"""The built-in distillation terms: one module a method."""

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
