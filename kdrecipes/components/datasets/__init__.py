"""The built-in datasets, one module each: `build(split)` gives a source of images and labels.

Import `decoding` (an image file to pixels) and `source` (an array as a source, the errors that sources share).
Beside it are `models`, `losses` and `callbacks`; the room `data` makes splits, stores and batches of a source.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The dataset components."""
    from kdrecipes.components.datasets import arrays, digits, fashion_mnist, file_list, folder, tfds

    yield arrays.COMPONENT
    yield digits.COMPONENT
    yield fashion_mnist.COMPONENT
    yield file_list.COMPONENT
    yield folder.COMPONENT
    yield tfds.COMPONENT
