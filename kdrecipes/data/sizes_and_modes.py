"""How large the images of a source are and of which modes, as they lie there: before they are made square and RGB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from kdrecipes.components.datasets.decoding import at_most

MOST_LOOKED_AT = 20_000  # headers of a source: a quarter of a minute on a local disk
MOST_DECODED = 500  # images of a source that can't tell without their pixels
_MOST_SIZES = 10  # that are told one by one
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by channels

Look = tuple[int, int, str]


def sizes_and_modes(source: Any, max_pixels: int, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What a description says of the forms of a source's images.

    Of many images those at even distances are looked at. One that can't be read is not counted: `open_store` names it.

    Args:
        source: a dataset component's source. `look(i)`, where it has it, gives width, height and mode of an example
            without its pixels; `arrays()` all images at once.
        max_pixels: of an image that is unpacked, where its pixels are needed.
        progress: called with (images looked at, to be looked at).

    Returns:
        `looked_at`, how many; `smallest`, `largest` and `median`, [width, height], each side by itself, None of no
        image; `sizes`, the ten most frequent ones, [{width, height, images}]; `other_sizes`, how many more sizes there
        are; `modes`, [{mode, images}].
    """
    found = _of_arrays(source) if hasattr(source, "arrays") else _of_examples(source, max_pixels, progress)
    sizes = Counter[tuple[int, int]]()
    modes = Counter[str]()
    for (width, height, mode), images in found.items():
        sizes[width, height] += images
        modes[mode] += images
    most = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
    widths, heights = ([(size[side], count) for size, count in most] for side in (0, 1))
    return {
        "looked_at": sizes.total(),
        "smallest": [min(widths)[0], min(heights)[0]] if most else None,
        "largest": [max(widths)[0], max(heights)[0]] if most else None,
        "median": [_median(widths), _median(heights)] if most else None,
        "sizes": [{"width": w, "height": h, "images": images} for (w, h), images in most[:_MOST_SIZES]],
        "other_sizes": len(most[_MOST_SIZES:]),
        "modes": [
            {"mode": mode, "images": images}
            for mode, images in sorted(modes.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
    }


def _of_arrays(source: Any) -> Counter[Look]:
    images = source.arrays()[0]
    return Counter({_form(np.shape(images)[1:]): len(images)})


def _of_examples(source: Any, max_pixels: int, progress: Callable[[int, int], None] | None) -> Counter[Look]:
    look = getattr(source, "look", None)
    count = min(len(source), MOST_LOOKED_AT if look else MOST_DECODED)
    found = Counter[Look]()
    for done in range(count):
        i = done * len(source) // count
        with suppress(Exception):  # of a damaged image a source may raise anything
            found[look(i) if look else _decoded(source, i, max_pixels)] += 1
        if progress and done % 100 == 0:
            progress(done, count)
    return found


def _decoded(source: Any, i: int, max_pixels: int) -> Look:
    with at_most(max_pixels):
        return _form(np.shape(source[i]["image"]))


def _form(shape: tuple[int, ...]) -> Look:
    """Width, height and mode of an array (height, width[, channels])."""
    return shape[1], shape[0], _MODES[shape[2] if len(shape) == 3 else 1]


def _median(values: list[tuple[int, int]]) -> int:
    """The lower median of values, given with how often each occurs."""
    ordered = sorted(values)
    counts = np.cumsum([count for _, count in ordered])
    return ordered[int(np.searchsorted(counts, (counts[-1] + 1) // 2))][0]
