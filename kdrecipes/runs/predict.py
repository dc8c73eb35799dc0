"""A network's logits on a whole split."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.data.splits import Split
from kdrecipes.training.inference import Inference, at_input_size


def predict(
    model: Any, split: Split, size: int, batch_size: int = 256, *, scale: float = 1.0, offset: float = 0.0
) -> np.ndarray:
    """float32 (examples, classes): a model's logits on a whole split, unaugmented, in inference mode.

    Args:
        model: from images to logits; where its input has a fixed size, images are resized to that.
        split: the examples.
        size: pixels per side.
        batch_size: examples at once.
        scale, offset: what pixels, 0–255, are multiplied by and moved by before; contrary to the contract, to find out
            what a model takes.
    """
    import torch

    loader, logits_of = Loader(split, batch_size, size), Inference(model)
    parts = []
    with torch.no_grad():
        for batch in range(len(loader)):
            image = keras.ops.convert_to_tensor(loader[batch][0]["image"])
            image = image if (scale, offset) == (1.0, 0.0) else image * scale + offset
            parts.append(keras.ops.convert_to_numpy(logits_of(at_input_size(image, model))).astype(np.float32))
    return np.concatenate(parts)
