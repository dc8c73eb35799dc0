"""What Keras hands to a step, in the shapes and dtypes that losses compute with."""

from __future__ import annotations

from collections.abc import Mapping
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


def teacher_images_of(x: Any, image: torch.Tensor, name: str) -> torch.Tensor:
    """The images that a teacher is shown: its own where the batch has them, under `"teacher_image"` and its name."""
    own = by_teacher(x, "teacher_image", name).get(name)
    if own is None:
        return image
    own = keras.ops.convert_to_tensor(own)
    return own if own.is_floating_point() else own.float()


def teacher_logits_of(x: Any, name: str) -> dict[str, torch.Tensor]:
    """Logits (batch, classes) that the batch brings along under `"teacher"`, by the teacher's name."""
    return {key: keras.ops.convert_to_tensor(logits) for key, logits in by_teacher(x, "teacher", name).items()}


def by_teacher(x: Any, key: str, name: str) -> Mapping[str, Any]:
    """What a batch has for teachers under a key, by their names; what stands there alone is for `name`."""
    found = x.get(key) if isinstance(x, dict) else None
    if found is None:
        return {}
    return found if isinstance(found, Mapping) else {name: found}


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


def known(labels: torch.Tensor) -> torch.Tensor:
    """bool (batch,): which examples have a label; -1, or a row of zeros or less, is none."""
    return labels >= 0 if labels.ndim == 1 else labels.sum(1) > 0


def mean_over_labelled(
    values: torch.Tensor, labelled: torch.Tensor, sample_weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of (batch,) values over the examples that have labels, 0 where none has; and how many have."""
    count = labelled.sum()
    values = values if sample_weight is None else values * sample_weight
    return torch.where(labelled, values, 0.0).sum() / count.clamp(min=1), count


def labelled_alone(y: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Labels, logits and weights of the examples that have labels."""
    labels: Any = labels_of(y, y_pred)
    labelled = known(labels)
    if labelled.all():
        return y, y_pred, sample_weight
    y = keras.ops.convert_to_tensor(y)
    return y[labelled], y_pred[labelled], None if sample_weight is None else sample_weight[labelled]


def mean_over_examples(values: torch.Tensor, sample_weight: torch.Tensor | None) -> torch.Tensor:
    """Mean over examples; a scalar term is its own mean and has no examples to weigh."""
    if not isinstance(values, torch.Tensor):
        raise ValueError(f"A term gives a torch tensor, (batch,) values or a scalar. Received: {type(values).__name__}")
    if values.ndim == 0:
        return values
    if values.ndim != 1:
        raise ValueError(f"A term gives (batch,) values or a scalar. Received: shape {tuple(values.shape)}")
    return values.mean() if sample_weight is None else (values * sample_weight).mean()
