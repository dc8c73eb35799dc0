"""The teachers' logits of images in memory, asked for once before a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from kdrecipes.backend import keras
from kdrecipes.training.teachers import Teachers


def refuse_uncacheable(teachers: Teachers) -> None:
    """Refuse to keep what there is not, or what logits don't tell.

    Raises:
        ValueError: when there is no teacher, or a term reads a teacher's layers.
    """
    if not teachers.networks:
        raise ValueError("cache_teacher=True keeps a teacher's logits, and there is no teacher.")
    read = [name for layers in teachers.layers.values() for name in layers]
    if read:
        raise ValueError(
            f"cache_teacher=True keeps a teacher's logits alone, and a term reads teacher_layers {read}, which take a "
            "pass of the teacher in every step. Leave cache_teacher out, or that term."
        )


def with_teacher_logits(teachers: Teachers, x: Any, batch_size: int) -> dict[str, Any]:
    """The data of a fit, and beside each image what the teachers say of it; so every order of the rows fits.

    Args:
        teachers: each is asked once for each batch.
        x: what `fit` is given: images (n, height, width, channels) as an array or a tensor, or a dict that holds them
            under `"image"` and other arrays of n rows.
        batch_size: images that a teacher is shown at once; the last batch may be smaller.

    Returns:
        `x` as a dict, with float32 (n, classes) of each teacher that a term hears under `"teacher"` and its name.

    Raises:
        ValueError: when `x` is no array, such as a generator or a loader: its images may differ in every epoch.
    """
    given = x if isinstance(x, dict) else {"image": x}
    if not all(hasattr(part, "shape") for part in keras.tree.flatten(given)) or "image" not in given:
        raise ValueError(
            "cache_teacher=True asks the teacher once for each image, so fit needs them as one array or tensor, (n, "
            f"height, width, channels). Received: {type(x).__name__}. Leave cache_teacher out for images that are "
            "loaded or augmented anew in every epoch."
        )
    images, kept = len(given["image"]), dict[str, np.ndarray]()
    for start in range(0, images, batch_size):
        for name, logits in teachers.logits(_rows(given, start, start + batch_size)).items():
            whole = kept.setdefault(name, np.empty((images, logits.shape[1]), np.float32))
            whole[start : start + len(logits)] = logits.cpu().numpy()
    return {**given, "teacher": kept}


def _rows(data: dict[str, Any], start: int, stop: int) -> Any:
    """A batch as `fit` would make it: on the device, fractions in Keras' own float type."""

    def tensor(part: Any) -> torch.Tensor:
        rows = keras.ops.convert_to_tensor(part[start:stop])
        return keras.ops.cast(rows, keras.config.floatx()) if rows.is_floating_point() else rows

    return keras.tree.map_structure(tensor, data)
