"""figures/images_*.png: the images of the page side by side, without words, for slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.files import new_file
from kdrecipes.report.galleries import png
from kdrecipes.report.pictures import LARGEST_SIDE, Pictures, stored_side

SHEETS = ("mended", "broken", "other", "training")
_COLUMNS, _GAP = 4, 8  # images a line; pixels between them


def sheet(images: NDArray[Any]) -> NDArray[Any]:
    """Images side by side on white, four a line: uint8 (height, width, 3) from uint8 (shown, side, side, 3), not none.

    Small images are enlarged by a whole factor, to about 96 pixels, so that each of their pixels is a square.
    """
    factor = -(-LARGEST_SIDE // images.shape[1])
    large = images.repeat(factor, 1).repeat(factor, 2)
    step, columns = large.shape[1] + _GAP, min(_COLUMNS, len(large))
    page = np.full((-(-len(large) // columns) * step + _GAP, columns * step + _GAP, 3), 255, np.uint8)
    for place, image in enumerate(large):
        top, left = (_GAP + step * of for of in divmod(place, columns))
        page[top : top + len(image), left : left + len(image)] = image
    return page


def write_sheets(run: Path, pictures: Pictures | None) -> None:
    """Write figures/images_<name>.png of a run folder for each group that has images, and remove those that have none.

    "training" are the training images as the student saw them.
    """
    shown = {name: group.images for name, group in pictures.groups.items()} if pictures else {}
    if pictures:
        shown["training"] = pictures.views[stored_side(pictures.sizes[0])]
    for name in SHEETS:
        path = run / "figures" / f"images_{name}.png"
        if len(shown.get(name, ())):
            with new_file(path) as file:
                file.write(png(sheet(shown[name])))
        else:
            path.unlink(missing_ok=True)
