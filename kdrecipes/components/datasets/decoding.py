"""How any image file becomes RGB pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kdrecipes.errors import one_line
from kdrecipes.wording import escaped

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def decode(file: str | Path | IO[bytes], upright: bool = True) -> np.ndarray:
    """An image file as uint8 RGB (height, width, 3), or RGBA (height, width, 4) where a pixel of it is transparent.

    Every dataset of kdrecipes reads files so. 16-bit grey is scaled to 8 bits, of an animation the first frame counts.
    A JPEG that is too large is decoded at a half, a quarter or an eighth of its size.

    Args:
        file: path or binary stream.
        upright: turn the image as its EXIF orientation says, whatever else its EXIF data hold. Default True.

    Raises:
        PIL.Image.DecompressionBombError: for more pixels than `PIL.Image.MAX_IMAGE_PIXELS`; a run sets it to the
            recipe's `dataset.max_pixels`.
        ValueError: for pixels that are floats.
        OSError: for what is no image, or a damaged one. Pillow raises other errors too.
    """
    import numpy as np
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    with at_most(None):  # which refuses here what `_shrink` makes small enough
        opened = Image.open(file)
    with opened as image:
        if limit is not None:
            _shrink(image, limit)
            if image.width * image.height > limit:
                raise Image.DecompressionBombError(
                    f"{image.width}×{image.height} pixels are more than dataset.max_pixels = {limit} allows"
                )
        image.load()  # a TIFF is turned here
        turned = _TURNS.get(_orientation(image)) if upright else None
        return np.asarray(_rgb(image if turned is None else image.transpose(Image.Transpose[turned])))


def why_unreadable(file: Path, error: Exception) -> str:
    """Why `decode` could not read a file: its error in words, without the name, which Pillow gives in full."""
    from PIL import UnidentifiedImageError

    if file.is_file() and file.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no image that Pillow knows, whatever its suffix"
    if isinstance(error, OSError):  # what Pillow says of a damaged file needs no class of error before it
        return escaped(error.strerror or str(error))
    return escaped(one_line(error))


def look(file: str | Path | IO[bytes]) -> tuple[int, int, str]:
    """Width and height of an image file as it is shown, in pixels, and Pillow's name of its mode, such as "RGB".

    Its header is read, its pixels are not.
    """
    from PIL import Image

    with at_most(None), Image.open(file) as image:
        width, height = image.size
        if _TURNS.get(_orientation(image), "") in _ON_ITS_SIDE:
            width, height = height, width
        return width, height, image.mode


_ORIENTATION = 274  # the tag's number
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_ON_ITS_SIDE = {"TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"}


def _orientation(image: Image.Image) -> int:
    """What the tag says, 1 to 8, or 1 where none can be read.

    Pillow's own `exif_transpose` also writes the other tags anew and fails on those that a careless editor left.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever Pillow makes of damaged EXIF data
        return 1


@contextmanager
def at_most(pixels: int | None) -> Iterator[None]:
    """While the block runs, Pillow unpacks no image of more `pixels`; None: of any number."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _shrink(image: Image.Image, limit: int) -> None:
    """Let a JPEG of more than `limit` pixels be decoded at the largest half, quarter or eighth within it.

    The header is read by now, the pixels are not. A progressive JPEG stays as it is, since its decoder
    holds all of it anyway.
    """
    if image.format not in ("JPEG", "MPO") or image.info.get("progressive"):
        return
    for scale in (1, 2, 4, 8):
        width, height = -(-image.width // scale), -(-image.height // scale)
        if width * height <= limit:
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            return


def _rgb(image: Image.Image) -> Image.Image:
    """The image in Pillow's mode RGB; RGBA where a pixel is transparent."""
    import numpy as np
    from PIL import Image

    if image.mode == "F":  # convert() would cut them at 0 and 255, so that what reaches from 0 to 1 would be black
        raise ValueError("its pixels are floats, and nothing says of which range: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey, which convert() would clip at 255
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(np.round(grey / 257).astype(np.uint8))
    elif "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            return image
    return image.convert("RGB")
