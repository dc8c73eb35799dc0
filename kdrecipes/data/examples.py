"""Some examples of a store, and what the networks see of them in a pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from kdrecipes.backend import current_device
from kdrecipes.data import views as view_functions
from kdrecipes.data.splits import NO_LABEL, Split
from kdrecipes.recipe.view_tables import ViewsTable


@dataclass(frozen=True)
class ViewSettings:
    """What the views are drawn from besides the pass and the examples: `[dataset.views]` and the recipe's seed."""

    views: ViewsTable | None = None
    seed: int = 0


def show(
    split: Split, chosen: np.ndarray, size: int, settings: ViewSettings | None = None, number: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the networks see of some examples in a pass: the one place where views are made.

    Args:
        split: the examples.
        chosen: int64 (batch,), positions in the split.
        size: pixels per side.
        settings: the views; None shows every image whole, as evaluation does.
        number: of the pass over the split, counted from 0; an epoch's where an epoch is one pass.

    Returns:
        Images, float32 (batch, size, size, 3), 0–255, on Keras' current device where that is CUDA; and labels: int64
        (batch,), or where views mix examples float32 (batch, classes), rows that sum to 1. An image without a label
        has -1, or a row of zeros.
    """
    return shown(read(split, chosen, settings, number), size)


@dataclass(frozen=True)
class Stored:
    """Examples as they stand in the store, and what is to be done to them.

    Where they are mixed, their partners follow them, in the same order; `shares` (batch,) is the examples' own part.
    `labels` are -1 where the split has none: those of the store are not read then. `weights` are None where all count
    alike.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: int
    parameters: view_functions.Parameters | None
    shares: np.ndarray | None
    weights: np.ndarray | None = None


def read(split: Split, chosen: np.ndarray, settings: ViewSettings | None, number: int) -> Stored:
    """Everything that waits for a disk, and nothing that draws on torch: so it can be done in a thread."""
    store, rows = split.store, split.positions[chosen]
    views = settings.views if settings else None
    parameters = shares = None
    if views and settings:
        if views.mixup:
            partner, shares = view_functions.draw_mix(views.mixup, settings.seed, number, store.index[rows], len(split))
            rows = np.concatenate([rows, split.positions[partner]])
        parameters = view_functions.draw(views, settings.seed, number, store.index[rows], store.images.shape[1])
    labels = store.labels[rows] if split.labelled else np.full(len(rows), NO_LABEL)
    weights = None if store.weights is None else store.weights[rows]
    return Stored(store.pixels(rows), labels, len(store.classes), parameters, shares, weights)


def shown(stored: Stored, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of what was read, as `show` gives them."""
    device = current_device()
    image = view_functions.apply(stored.images, stored.parameters, size, device)
    labels = torch.from_numpy(stored.labels)
    if stored.shares is None:
        return image, labels
    share = torch.from_numpy(stored.shares.astype(np.float32))
    rows = F.one_hot(labels.clamp(min=0), stored.classes).float() * (labels >= 0)[:, None]
    (image, others), (labels, other_labels) = image.chunk(2), rows.chunk(2)
    image.lerp_(others, view_functions.to_device(1 - share, device)[:, None, None, None])
    return image, labels.lerp(other_labels, (1 - share)[:, None])
