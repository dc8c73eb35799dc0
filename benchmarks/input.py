"""Row 7: the input pipeline alone ÷ a training step; how fast JPEG files are read stands beside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.images import VIEWS, open_split
from benchmarks.networks import TITLES, as_loaded, batch_of, build, distiller, step_of
from benchmarks.rows import Row, Setting, row_of
from benchmarks.timing import interleave, milliseconds, per_second, ratio
from kdrecipes.components.datasets import folder
from kdrecipes.data.loader import Loader
from kdrecipes.data.reader import Reader

NETWORK = "mobilenet_v3_small"


def measure(setting: Setting) -> list[Row]:
    """One row."""
    images, batch, size = setting.choose(4096, 64), setting.choose(128, 16), setting.choose(64, 32, 224)
    with open_split(images, setting) as (split, described):
        loader = Loader(split, batch, size, settings=VIEWS, order_seed=0, drop_last=True)
        pixels, labels = batch_of(batch, size)
        step = step_of(distiller(build(NETWORK, size)), as_loaded(pixels), labels)
        candidates = {"loading": _batches_of(loader), "step": step}
        # A whole epoch of batches in every round: a new order is drawn at each.
        times = interleave(candidates, setting.choose(5, 2), steps=len(loader), warm_up=setting.choose(3, 1))
    return [
        row_of(
            7,
            f"input pipeline ÷ training step: FashionMNIST, {TITLES[NETWORK]} {size} px",
            ratio(times["loading"], times["step"]),
            "at most",
            0.05,
            batch=batch,
            images=described,
            loading_ms=milliseconds(times["loading"]),
            step_ms=milliseconds(times["step"]),
            loading_images_per_second=per_second(batch, times["loading"]),
            jpeg_224_images_per_second_per_core=_jpeg(224, 224, setting),
            jpeg_500x375_to_224_images_per_second_per_core=_jpeg(500, 375, setting),
        )
    ]


def _batches_of(loader: Loader) -> Callable[[], Any]:
    """Loads the next batch at every call, epoch after epoch."""
    calls = count()

    def load() -> None:
        loader.epoch, batch = divmod(next(calls), len(loader))
        loader[batch]

    return load


def _jpeg(width: int, height: int, setting: Setting) -> float:
    """JPEG files of a folder read into 224 × 224 pixels, in images per second; one thread does it."""
    images = setting.choose(128, 4)
    with tempfile.TemporaryDirectory(prefix="kdrecipes-bench-") as root:
        place = Path(root, "class")
        place.mkdir()
        for i in range(images):
            _photo(i, width, height).save(place / f"{i}.jpg", quality=90)
        source = folder.build("train", path=root)
        reader = Reader(source, None, "benchmark", 224, "squash")
        times = interleave({"read": lambda: reader.read(0, images)}, setting.choose(3, 2), warm_up=1)
    return per_second(images, times["read"])


def _photo(seed: int, width: int, height: int) -> Image.Image:
    """What compresses about as a photo does: structure at every scale, with grain."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        coarse = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, float) - 128) / np.sqrt(cells)
    return Image.fromarray(np.clip(128 + 1.5 * total, 0, 255).astype(np.uint8))
