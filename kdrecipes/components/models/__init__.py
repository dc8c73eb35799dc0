"""The built-in models: from raw RGB pixels, float 0–255, (batch, height, width, 3), to logits (batch, classes)."""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The model components."""
    from kdrecipes.components.models import applications, bit, cnn, file, hub

    yield cnn.COMPONENT
    yield from applications.COMPONENTS
    yield from bit.COMPONENTS
    yield hub.COMPONENT
    yield file.COMPONENT
