"""The images that are measured on: FashionMNIST in a store of its own, and caches that start empty."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.rows import Setting
from kdrecipes.components.datasets import fashion_mnist
from kdrecipes.components.datasets.source import ArraySource
from kdrecipes.data.examples import ViewSettings
from kdrecipes.data.splits import Split
from kdrecipes.data.store import open_store
from kdrecipes.errors import KDRecipesError
from kdrecipes.recipe.make import views_table

VIEWS = ViewSettings(views_table({"flip": True, "crop_padding": 2}))


@contextmanager
def open_split(count: int, setting: Setting) -> Iterator[tuple[Split, str]]:
    """`count` training images in a memory-mapped store, and what they are; caches are empty, and removed afterwards.

    Random images of the same shape stand in where FashionMNIST is not to be had; times do not depend on the pixels.
    """
    images, labels, described = _fashion_mnist(count, setting)
    source = ArraySource(images, labels, fashion_mnist.CLASSES, "", described)
    before = os.environ.get("KDRECIPES_HOME")
    with tempfile.TemporaryDirectory(prefix="kdrecipes-bench-") as folder:
        os.environ["KDRECIPES_HOME"] = folder
        try:
            store = open_store(
                source,
                "benchmark",
                name="benchmark train",
                image_size=None,
                store_size=None,
                resize="squash",
            )
            yield Split(store, np.arange(count)), described
        finally:
            if before is None:
                del os.environ["KDRECIPES_HOME"]
            else:
                os.environ["KDRECIPES_HOME"] = before


def _fashion_mnist(count: int, setting: Setting) -> tuple[np.ndarray, np.ndarray, str]:
    """Images uint8 (count, 28, 28, 1), labels int64 (count,), and what they are."""
    at_hand = any("train" in fashion_mnist.find(place) for place in fashion_mnist.places())
    try:
        if at_hand or not setting.quick:  # a quick look asks no network
            source = fashion_mnist.build("train")
            examples = [source[i] for i in range(count)]
            labels = np.array([example["label"] for example in examples], np.int64)
            return np.stack([example["image"] for example in examples]), labels, "FashionMNIST"
    except KDRecipesError as error:
        print(f"{error}\nRandom images of the same shape stand in for it.", file=sys.stderr)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 28, 28, 1), np.uint8)
    return images, generator.integers(0, len(fashion_mnist.CLASSES), count), "random images"
