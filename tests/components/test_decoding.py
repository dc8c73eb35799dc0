"""Single images: whatever their mode or orientation, RGB and upright."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from kdrecipes.components.datasets import folder
from kdrecipes.components.datasets.decoding import at_most

pytestmark = pytest.mark.usefixtures("places")


def gray16() -> Image.Image:
    return Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    return image


@pytest.mark.parametrize(
    "image, save, pixels",
    [
        (Image.new("L", (1, 1), 7), {}, [[7, 7, 7]]),
        (Image.new("1", (1, 1), 1), {}, [[255, 255, 255]]),
        (palette(), {}, [[10, 20, 30], [40, 50, 60]]),
        (palette(), {"transparency": 1}, [[10, 20, 30, 255], [40, 50, 60, 0]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 0)), {}, [[200, 100, 50, 0]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 255)), {}, [[200, 100, 50]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 51)), {}, [[200, 100, 50, 51]]),
        (Image.new("LA", (1, 1), (200, 51)), {}, [[200, 200, 200, 51]]),
        (Image.new("LA", (1, 1), (200, 255)), {}, [[200, 200, 200]]),
        (gray16(), {}, [[0, 0, 0], [100, 100, 100], [255, 255, 255]]),
    ],
)
def test_images_of_every_mode_become_rgb_and_keep_alpha_where_a_pixel_is_transparent(image, save, pixels):
    stream = io.BytesIO()
    image.save(stream, "png", **save)
    stream.seek(0)
    decoded = folder.decode(stream)
    assert decoded.dtype == np.uint8 and decoded.tolist() == [pixels]


def test_an_image_in_cmyk_becomes_rgb():
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(stream, "jpeg", quality=95)
    stream.seek(0)
    assert np.abs(folder.decode(stream)[4, 4].astype(int) - [255, 0, 0]).max() < 8


def test_an_image_is_turned_upright_unless_told_otherwise():
    image = Image.new("RGB", (2, 1))
    image.putdata([(255, 0, 0), (0, 0, 255)])
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    stream = io.BytesIO()
    image.save(stream, "png", exif=exif)
    assert folder.decode(io.BytesIO(stream.getvalue())).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]
    assert folder.decode(io.BytesIO(stream.getvalue()), upright=False).shape == (1, 2, 3)


def with_exif(orientation: int | None, entries: list[bytes]) -> io.BytesIO:
    """A JPEG of 24 × 16 pixels with raw EXIF entries, such as a careless editor leaves."""
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), (200, 0, 0)).save(stream, "jpeg")
    tags = [] if orientation is None else [struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)]
    tags += entries
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags) + struct.pack("<I", 0)
    content = stream.getvalue()
    return io.BytesIO(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])


BROKEN = {
    "a resolution that is text": struct.pack("<HHI", 0x011A, 2, 4) + b"abc\0",
    "a value beyond the end": struct.pack("<HHII", 0x010E, 2, 4000, 60_000),
    "a type that is not known": struct.pack("<HHII", 0x0131, 99, 1, 0),
    "a folder that is not there": struct.pack("<HHII", 0x8769, 4, 1, 60_000),
    "GPS that is text": struct.pack("<HHI", 0x8825, 2, 4) + b"abc\0",
}


@pytest.mark.parametrize("entry", BROKEN.values(), ids=BROKEN)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_orientation_is_read_whatever_else_the_exif_data_hold(entry):
    assert folder.decode(with_exif(6, [entry])).shape == (24, 16, 3)
    assert folder.decode(with_exif(None, [entry])).shape == (16, 24, 3)


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation):
    stream = io.BytesIO()
    image = Image.fromarray(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(stream, "png", exif=exif)
    with Image.open(io.BytesIO(stream.getvalue())) as opened:
        turned = ImageOps.exif_transpose(opened)
    assert np.array_equal(folder.decode(io.BytesIO(stream.getvalue())), np.asarray(turned))


def test_a_tiff_is_turned_once():
    stream = io.BytesIO()
    Image.new("RGB", (4, 2)).save(stream, "tiff", tiffinfo={0x0112: 6})
    assert folder.decode(stream).shape == (4, 2, 3)


def test_exif_data_that_are_none_turn_nothing():
    content = with_exif(6, []).getvalue().replace(b"II*\0", b"XXXX")
    assert folder.decode(io.BytesIO(content)).shape == (16, 24, 3)


@pytest.mark.parametrize(
    ("limit", "shape"),
    [(3200, (40, 80)), (3199, (20, 40)), (800, (20, 40)), (799, (10, 20)), (60, (5, 10)), (49, None)],
)
def test_a_jpeg_beyond_the_limit_is_decoded_at_the_largest_fraction_within_it(limit, shape):
    """Also at more than twice the limit, where Pillow refuses to open the file."""
    stream = io.BytesIO()
    Image.new("RGB", (80, 40), (200, 30, 30)).save(stream, "jpeg", quality=95)
    before = Image.MAX_IMAGE_PIXELS
    with at_most(limit):
        if shape is None:
            with pytest.raises(
                Image.DecompressionBombError, match=r"^80×40 pixels are more than dataset.max_pixels = 49"
            ):
                folder.decode(stream)
        else:
            decoded = folder.decode(stream)
            assert decoded.shape == (*shape, 3) and np.abs(decoded.astype(int) - [200, 30, 30]).max() < 5
        assert limit == Image.MAX_IMAGE_PIXELS
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("form", "options"), [("png", {}), ("jpeg", {"progressive": True})])
def test_what_a_decoder_holds_as_a_whole_is_refused_beyond_the_limit(form, options):
    stream = io.BytesIO()
    Image.new("RGB", (80, 40)).save(stream, form, **options)
    with at_most(3200):
        assert folder.decode(stream).shape == (40, 80, 3)
    with at_most(3199), pytest.raises(Image.DecompressionBombError, match=r"dataset\.max_pixels = 3199"):
        folder.decode(stream)
