"""The built-in distillation terms: one module a method."""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The loss components."""
    from kdrecipes.losses import dist, hint, kd

    yield kd.COMPONENT
    yield dist.COMPONENT
    yield hint.COMPONENT
