"""Views: what both networks see of an image in an epoch, drawn as a pure function of (seed, epoch, example)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kdrecipes.data.hashing import uniform

# One stream of numbers for each thing drawn; a new augmentation takes a new stream and leaves the others alone.
_FLIP, _CROP_Y, _CROP_X, _BOX = 1, 2, 3, 16
_BOX_TRIES = 10

Parameters = dict[str, np.ndarray]


def draw(views: Mapping[str, Any], seed: int, epoch: int, index: np.ndarray, stored_size: int) -> Parameters:
    """The parameters of each example's view.

    Args:
        views: the recipe's `[dataset.views]`, resolved; empty for none.
        seed: the recipe's seed.
        epoch: counted from 0.
        index: int64 (batch,), each example's index in its base split.
        stored_size: pixels per side in the store.

    Returns:
        Arrays of length batch: `flip` (bool); `top`, `left`, `height`, `width` (int64), the box that is shown, in
        stored pixels; it reaches outside the image where `crop_padding` moved it there.
    """
    n, side = len(index), stored_size
    full = np.full(n, side, np.int64)
    zero = np.zeros(n, np.int64)
    parameters = {"flip": np.zeros(n, bool), "top": zero, "left": zero, "height": full, "width": full}
    if views.get("flip"):
        parameters["flip"] = uniform(index, seed, epoch, _FLIP) < 0.5
    if padding := views.get("crop_padding", 0):
        choices = 2 * padding + 1
        for key, stream in (("top", _CROP_Y), ("left", _CROP_X)):
            parameters[key] = (uniform(index, seed, epoch, stream) * choices).astype(np.int64) - padding
    if box := views.get("random_resized_crop"):
        parameters |= _draw_boxes(box["scale"], box["ratio"], seed, epoch, index, side)
    return parameters


def _draw_boxes(
    scale: list[float], ratio: list[float], seed: int, epoch: int, index: np.ndarray, side: int
) -> Parameters:
    """Random boxes of the given area and aspect ratio (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    Each example tries ten boxes and takes the first that fits; where none does, the central square.
    """
    n = len(index)
    height, width = np.full(n, side, np.int64), np.full(n, side, np.int64)
    found = np.zeros(n, bool)
    for attempt in range(_BOX_TRIES):
        area = side * side * (scale[0] + (scale[1] - scale[0]) * uniform(index, seed, epoch, _BOX + 2 * attempt))
        low, high = math.log(ratio[0]), math.log(ratio[1])
        aspect = np.exp(low + (high - low) * uniform(index, seed, epoch, _BOX + 2 * attempt + 1))
        w, h = np.rint(np.sqrt(area * aspect)).astype(np.int64), np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = ~found & (w >= 1) & (h >= 1) & (w <= side) & (h <= side)
        height[fits], width[fits] = h[fits], w[fits]
        found |= fits
    top = (uniform(index, seed, epoch, _CROP_Y) * (side - height + 1)).astype(np.int64)
    left = (uniform(index, seed, epoch, _CROP_X) * (side - width + 1)).astype(np.int64)
    return {"top": top, "left": left, "height": height, "width": width}


def apply(images: np.ndarray, parameters: Parameters | None, size: int) -> torch.Tensor:
    """Show the boxes of stored images at `size` pixels per side.

    Args:
        images: uint8 (batch, side, side, 3).
        parameters: from `draw`; None shows each image whole.
        size: pixels per side of the result.

    Returns:
        float32 (batch, size, size, 3), 0–255. Geometry moves whole stored pixels, outside is black; then one
        antialiased bilinear resize.
    """
    side = images.shape[1]
    if parameters is None:
        return resize(_to_tensor(images), size)
    same_box = bool((parameters["height"] == side).all() and (parameters["width"] == side).all())
    if same_box:
        return resize(_to_tensor(_shift(images, parameters)), size)
    shown = torch.empty((len(images), size, size, 3))
    for i, image in enumerate(images):
        top, left = parameters["top"][i], parameters["left"][i]
        box = image[top : top + parameters["height"][i], left : left + parameters["width"][i]]
        if parameters["flip"][i]:
            box = box[:, ::-1]
        shown[i] = resize(_to_tensor(np.ascontiguousarray(box)[None]), size)[0]
    return shown


def _shift(images: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Move and mirror whole images by a gather; what comes from outside is black."""
    n, side = images.shape[:2]
    steps = np.arange(side)
    rows = steps + parameters["top"][:, None]
    columns = np.where(parameters["flip"][:, None], side - 1 - steps, steps) + parameters["left"][:, None]
    inside_rows, inside_columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    moved = images[
        np.arange(n)[:, None, None], np.clip(rows, 0, side - 1)[:, :, None], np.clip(columns, 0, side - 1)[:, None]
    ]
    if not (inside_rows.all() and inside_columns.all()):
        moved *= (inside_rows[:, :, None] & inside_columns[:, None])[..., None]
    return moved


def _to_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).float()


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Antialiased bilinear resize of float (batch, height, width, channels) to `size` pixels per side."""
    if images.shape[1] == size and images.shape[2] == size:
        return images
    channels_first = images.permute(0, 3, 1, 2)
    shown = F.interpolate(channels_first, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return shown.permute(0, 2, 3, 1)
