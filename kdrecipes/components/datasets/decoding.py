"""How any image file becomes RGB pixels."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def decode(file: str | Path | IO[bytes], upright: bool = True) -> np.ndarray:
    """An image file as uint8 RGB (height, width, 3).

    Transparent pixels are laid over black, 16-bit grey is scaled to 8 bits, of an animation the first frame counts.

    Args:
        file: path or binary stream.
        upright: turn the image as its EXIF orientation says.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        pixels = image.width * image.height
        # Pillow only warns up to twice its limit; the header is read by now, the pixels are not
        if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(f"{pixels} pixels; at most {Image.MAX_IMAGE_PIXELS} are unpacked")
        turned = ImageOps.exif_transpose(image) if upright else image
        return np.asarray(_rgb(turned))


def _rgb(image: Image.Image) -> Image.Image:
    """The image in Pillow's mode RGB."""
    import numpy as np
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey, which convert() would clip at 255
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(np.round(grey / 257).astype(np.uint8))
    elif "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")
