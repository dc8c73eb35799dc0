"""Views: what both networks see of an image in an epoch, drawn as a pure function of (seed, epoch, example)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from kdrecipes.hashing import uniform
from kdrecipes.recipe.view_tables import ErasingTable, Range, ViewsTable

# One stream of numbers for each thing drawn; a new augmentation takes a new stream and leaves the others alone.
_FLIP, _CROP_Y, _CROP_X, _PARTNER, _SHARE, _ANGLE, _ERASE, _ERASE_Y, _ERASE_X, _BOX, _ERASE_BOX = *range(1, 10), 16, 64
_BOX_TRIES = 10
_PART_BYTES = 2_000_000  # a batch is resampled in parts of about this size, which stay in the processor's cache

Parameters = dict[str, np.ndarray]
Taps = tuple[torch.Tensor, torch.Tensor]  # int64 and float32 (batch, size, taps): which rows, and how much of each


def draw(views: ViewsTable, seed: int, epoch: int, index: np.ndarray, stored_size: int) -> Parameters:
    """The parameters of each example's view.

    Args:
        views: the recipe's `[dataset.views]`.
        seed: the recipe's seed.
        epoch: counted from 0.
        index: int64 (batch,), each example's index in its base split.
        stored_size: pixels per side in the store.

    Returns:
        Arrays of length batch: `flip` (bool); `top`, `left`, `height`, `width` (int64), the box that is shown, in
        stored pixels; it reaches outside the image where `crop_padding` moved it there. With `rotation`, `angle`
        (float64), in degrees, by which the image is turned to the left before that. With `random_erasing`,
        `erase_top`, `erase_left`, `erase_height`, `erase_width` (float64), the part of the shown image that is blacked
        out, as shares of its side; nothing where they are 0.
    """
    n, side = len(index), stored_size
    full = np.full(n, side, np.int64)
    zero = np.zeros(n, np.int64)
    parameters = {"flip": np.zeros(n, bool), "top": zero, "left": zero, "height": full, "width": full}
    if views.flip:
        parameters["flip"] = uniform(index, seed, epoch, _FLIP) < 0.5
    if padding := views.crop_padding:
        choices = 2 * padding + 1
        for key, stream in (("top", _CROP_Y), ("left", _CROP_X)):
            parameters[key] = (uniform(index, seed, epoch, stream) * choices).astype(np.int64) - padding
    if box := views.random_resized_crop:
        parameters |= _draw_boxes(box.scale, box.ratio, seed, epoch, index, side)
    if degrees := views.rotation:
        parameters["angle"] = degrees * (2 * uniform(index, seed, epoch, _ANGLE) - 1)
    if erasing := views.random_erasing:
        parameters |= _draw_erased(erasing, seed, epoch, index)
    return parameters


def _draw_boxes(scale: Range, ratio: Range, seed: int, epoch: int, index: np.ndarray, side: int) -> Parameters:
    """Random boxes of the given area and aspect ratio (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    Each example tries ten boxes and takes the first that fits; where none does, the central square.
    """
    n = len(index)
    height, width = np.full(n, side, np.int64), np.full(n, side, np.int64)
    found = np.zeros(n, bool)
    for attempt in range(_BOX_TRIES):
        sides = _draw_sides(side * side, scale, ratio, seed, epoch, index, _BOX + 2 * attempt)
        w, h = (np.rint(length).astype(np.int64) for length in sides)
        fits = ~found & (w >= 1) & (h >= 1) & (w <= side) & (h <= side)
        height[fits], width[fits] = h[fits], w[fits]
        found |= fits
    top = (uniform(index, seed, epoch, _CROP_Y) * (side - height + 1)).astype(np.int64)
    left = (uniform(index, seed, epoch, _CROP_X) * (side - width + 1)).astype(np.int64)
    return {"top": top, "left": left, "height": height, "width": width}


def _draw_sides(
    whole: float, scale: Range, ratio: Range, seed: int, epoch: int, index: np.ndarray, stream: int
) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of boxes: their area even in `scale`, as shares of the whole, the log of aspects in `ratio`."""
    area = whole * (scale[0] + (scale[1] - scale[0]) * uniform(index, seed, epoch, stream))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = np.exp(low + (high - low) * uniform(index, seed, epoch, stream + 1))
    return np.sqrt(area * aspect), np.sqrt(area / aspect)


def _draw_erased(erasing: ErasingTable, seed: int, epoch: int, index: np.ndarray) -> Parameters:
    """Boxes to black out, with the given probability (Zhong et al., arXiv:1708.04896, algorithm 1, ten tries)."""
    n = len(index)
    height, width = np.zeros(n), np.zeros(n)
    wanted = uniform(index, seed, epoch, _ERASE) < erasing.probability
    for attempt in range(_BOX_TRIES):
        w, h = _draw_sides(1.0, erasing.scale, erasing.ratio, seed, epoch, index, _ERASE_BOX + 2 * attempt)
        fits = wanted & (w < 1) & (h < 1)
        height[fits], width[fits] = h[fits], w[fits]
        wanted &= ~fits
    return {
        "erase_top": uniform(index, seed, epoch, _ERASE_Y) * (1 - height),
        "erase_left": uniform(index, seed, epoch, _ERASE_X) * (1 - width),
        "erase_height": height,
        "erase_width": width,
    }


def draw_mix(alpha: float, seed: int, epoch: int, index: np.ndarray, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Whom each example is mixed with, and its own share (mixup, Zhang et al. 2018, arXiv:1710.09412, equations 1–2).

    Partners are drawn from the whole split and not from the batch: so a mix depends on no batch's size or order. Of the
    two shares the example itself is given the larger. That leaves the mixtures what they were, since both partners of
    one are drawn alike; and it makes every example the main part of its own view in every epoch.

    Args:
        alpha: of the symmetric Beta distribution of shares, above 0.
        seed, epoch, index: as for `draw`.
        examples: how many there are to draw partners from.

    Returns:
        int64 (batch,), partners in [0, examples); float64 (batch,), shares in [0.5, 1].
    """
    from scipy.special import betaincinv

    partner = (uniform(index, seed, epoch, _PARTNER) * examples).astype(np.int64)
    # the larger of two shares that sum to 1: the upper half of a symmetric distribution
    return partner, betaincinv(alpha, alpha, 0.5 + 0.5 * uniform(index, seed, epoch, _SHARE))


def apply(images: np.ndarray, parameters: Parameters | None, size: int, device: str = "cpu") -> torch.Tensor:
    """Show the boxes of stored images at `size` pixels per side.

    Args:
        images: uint8 (batch, side, side, 3).
        parameters: from `draw`; None shows each image whole.
        size: pixels per side of the result.
        device: where it is computed; a GPU is sent the stored bytes, a quarter of the result's.

    Returns:
        float32 (batch, size, size, 3), 0–255. A rotation takes stored pixels bilinearly, all other geometry moves
        whole ones, outside is black; then one antialiased bilinear resize, and what is erased is black.
    """
    side = images.shape[1]
    pixels = to_device(torch.from_numpy(np.ascontiguousarray(images)), device)
    if parameters is None:
        return resize(pixels, size)
    if "angle" in parameters:
        pixels = _rotated(pixels, to_device(torch.from_numpy(parameters["angle"]), device))
    down = _taps(parameters["top"], parameters["height"], np.zeros(len(images), bool), side, size, device)
    across = _taps(parameters["left"], parameters["width"], parameters["flip"], side, size, device)
    shown = _resample(pixels, down, across)
    if "erase_top" in parameters:
        inside = [
            _between(parameters[f"erase_{start}"], parameters[f"erase_{length}"], size, device)
            for start, length in (("top", "height"), ("left", "width"))
        ]
        shown *= ~(inside[0][:, :, None, None] & inside[1][:, None, :, None])
    return shown


def _rotated(images: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """float32 images turned to the left about their centre; bilinear, black outside. `degrees`: float64 (batch,)."""
    side = images.shape[1]
    angle = torch.deg2rad(degrees)[:, None, None]
    centre = ((torch.arange(side, device=images.device) + 0.5) * 2 / side - 1).double()
    y, x = centre[None, :, None], centre[None, None, :]
    cos, sin = angle.cos(), angle.sin()
    # Where each pixel comes from; y points down.
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], -1).float()
    moved = F.grid_sample(images.permute(0, 3, 1, 2).float(), grid, mode="bilinear", align_corners=False)
    return moved.permute(0, 2, 3, 1).contiguous()


def _between(start: np.ndarray, length: np.ndarray, size: int, device: str) -> torch.Tensor:
    """bool (batch, size): which of the shown rows lie in a part, both given as shares of the side."""
    first, behind = (to_device(torch.from_numpy(np.rint(a * size)), device)[:, None] for a in (start, start + length))
    row = torch.arange(size, device=device)
    return (row >= first) & (row < behind)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Antialiased bilinear resize of (batch, height, width, channels) to `size` pixels per side; integers to float32.

    Floats that have this size already are returned as they are.
    """
    height, width = images.shape[1:3]
    if height == size and width == size:
        return images if images.is_floating_point() else images.float()
    zero, device = np.zeros(1, np.int64), str(images.device)
    down, across = (_taps(zero, zero + side, zero > 0, side, size, device) for side in (height, width))
    return _resample(images, down, across)


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor on a CUDA device, copied out of pinned memory beside whatever the GPU does; elsewhere as it is."""
    if tensor.is_cpu and device.startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


def _taps(start: np.ndarray, length: np.ndarray, mirrored: np.ndarray, side: int, size: int, device: str) -> Taps:
    """Which of an image's `side` rows each of `size` shown rows is made of; `length` rows from `start` on are shown.

    The weights are a triangle around the shown row's centre. It reaches one stored row to each side, or one shown row
    where that is more: the antialiasing. They sum to 1 over the box; then rows outside the image, which are black,
    weigh nothing.
    """
    first, count, mirror = (to_device(torch.from_numpy(a), device)[:, None] for a in (start, length, mirrored))
    scale = count.double() / size  # stored rows to a shown row
    reach = scale.clamp(min=1)
    centre = (torch.arange(size, device=device) + 0.5) * scale
    # enough taps for every box, so that no view depends on another's; they come first while they are computed
    tap = torch.arange(math.ceil(2 * max(1, side / size)), device=device)[:, None, None]
    row = (centre - reach + 0.5).floor().long() + tap
    share = (1 - (row + 0.5 - centre).abs() / reach).clamp(min=0) * ((row >= 0) & (row < count))
    share /= share.sum(0)
    row = torch.where(mirror, count - 1 - row, row) + first
    share *= (row >= 0) & (row < side)
    return row.clamp(0, side - 1).permute(1, 2, 0), share.float().permute(1, 2, 0)


def _resample(images: torch.Tensor, down: Taps, across: Taps) -> torch.Tensor:
    """float (batch, size, size, channels) of (batch, height, width, channels), by the taps of rows and of columns.

    Taps are of every image, or of one for all.
    """
    n, size = len(images), down[0].shape[1]
    down, across = ((rows.expand(n, -1, -1), shares.expand(n, -1, -1)) for rows, shares in (down, across))
    dtype = images.dtype if images.is_floating_point() else torch.float32
    shape = (n, size, size, images.shape[3])
    if images.is_cpu and dtype == torch.float32:
        shown = torch.from_numpy(np.empty(shape, np.float32))  # NumPy asks for huge pages: quicker at the first touch
        part = max(1, _PART_BYTES * n // (4 * max(images.numel(), shown.numel())))
    else:
        shown, part = torch.empty(shape, dtype=dtype, device=images.device), n
    for start in range(0, n, part):
        chosen = slice(start, start + part)
        columns = images[chosen].transpose(1, 2).contiguous().to(dtype)
        rows = _sums(columns, *(tensor[chosen] for tensor in across)).transpose(1, 2).contiguous()
        shown[chosen] = _sums(rows, *(tensor[chosen] for tensor in down))
    return shown


def _sums(images: torch.Tensor, rows: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Weighted sums of each image's rows: (batch, height, …) → (batch, size, …)."""
    n, height = images.shape[:2]
    rows = rows + height * torch.arange(n, device=images.device)[:, None, None]
    shares = shares.to(images.dtype).flatten(0, 1)
    # the quickest weighted sum of rows that torch has on a CPU, and a GPU has it too
    sums = F.embedding_bag(rows.flatten(0, 1), images.reshape(n * height, -1), per_sample_weights=shares, mode="sum")
    return sums.view(n, -1, *images.shape[2:])
