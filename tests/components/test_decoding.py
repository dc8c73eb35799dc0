"""Single images: whatever their mode or orientation, RGB and upright."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from kdrecipes.components.datasets import folder

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
        (palette(), {"transparency": 1}, [[10, 20, 30], [0, 0, 0]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 0)), {}, [[0, 0, 0]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 255)), {}, [[200, 100, 50]]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 51)), {}, [[40, 20, 10]]),
        (Image.new("LA", (1, 1), (200, 51)), {}, [[40, 40, 40]]),
        (gray16(), {}, [[0, 0, 0], [100, 100, 100], [255, 255, 255]]),
    ],
)
def test_images_of_every_mode_become_rgb(image, save, pixels):
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
