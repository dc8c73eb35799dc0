"""The built-in models: from raw RGB pixels, float 0–255, (batch, height, width, 3), to logits (batch, classes).

Import `weights` (files of arrays into a model) for a model of your own; models are built by name, from the registry.
Beside it are `datasets`, `losses` and `callbacks`; their own layers are in the ground, `kdrecipes.layers`; `fast`
speeds them up.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The model components."""
    from kdrecipes.components.models import applications, bit, cnn, file, hub, keras_applications

    yield cnn.COMPONENT
    yield from applications.COMPONENTS
    yield keras_applications.COMPONENT
    yield from bit.COMPONENTS
    yield hub.COMPONENT
    yield file.COMPONENT
