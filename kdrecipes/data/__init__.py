"""Data: sources (one module each), the pixel store, the views and the loader."""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The dataset components."""
    from kdrecipes.data import digits, fashion_mnist, folder, tfds

    yield digits.COMPONENT
    yield fashion_mnist.COMPONENT
    yield folder.COMPONENT
    yield tfds.COMPONENT
