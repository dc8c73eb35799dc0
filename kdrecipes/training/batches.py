"""What Keras hands to a step, in the shapes and dtypes that losses compute with."""

from __future__ import annotations

from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.training.inference import wide


def images_of(x: Any) -> Any:
    """Images (batch, height, width, channels), floating point; symbolic ones as they are."""
    image = x["image"] if isinstance(x, dict) else x
    if isinstance(image, keras.KerasTensor):
        return image
    image = keras.ops.convert_to_tensor(image)
    return image if image.is_floating_point() else image.float()


def teacher_images_of(x: Any, image: torch.Tensor) -> torch.Tensor:
    """The images that the teacher is shown: its own where the batch has them, under `"teacher_image"`."""
    if not isinstance(x, dict) or "teacher_image" not in x:
        return image
    own = keras.ops.convert_to_tensor(x["teacher_image"])
    return own if own.is_floating_point() else own.float()


def index_of(x: Any) -> torch.Tensor | None:
    """int64 (batch,); None where the data have none."""
    index = x.get("index") if isinstance(x, dict) else None
    return None if index is None else keras.ops.convert_to_tensor(index).to(torch.int64)


def weights_of(sample_weight: Any) -> torch.Tensor | None:
    """float32 (batch,)."""
    return None if sample_weight is None else keras.ops.convert_to_tensor(sample_weight, dtype="float32").reshape(-1)


def labels_of(y: Any, logits: torch.Tensor) -> torch.Tensor | None:
    """int64 (batch,), or float (batch, classes) of the logits' dtype."""
    if y is None:
        return None
    labels = keras.ops.convert_to_tensor(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return labels.to(torch.int64) if labels.ndim == 1 else labels.to(wide(logits).dtype)


def mean_over_examples(values: torch.Tensor, sample_weight: torch.Tensor | None) -> torch.Tensor:
    """Mean over examples; a scalar term is its own mean and has no examples to weigh."""
    if values.ndim == 0:
        return values
    if values.ndim != 1:
        raise ValueError(f"A term gives (batch,) values or a scalar. Received: shape {tuple(values.shape)}")
    return values.mean() if sample_weight is None else (values * sample_weight).mean()
