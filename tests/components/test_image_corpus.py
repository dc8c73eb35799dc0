"""A folder with every kind of image that goes wrong elsewhere: what each becomes, or in which words it is refused."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from kdrecipes.components.datasets import folder
from kdrecipes.components.datasets.decoding import decode
from kdrecipes.wording import harmless

pytestmark = pytest.mark.usefixtures("places")
RED, GREEN = Image.new("RGB", (2, 2), (255, 0, 0)), Image.new("RGB", (2, 2), (0, 255, 0))


def content(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = content(RED, "png")  # its header ends at byte 33
MANY = {"save_all": True, "append_images": [GREEN]}
READ = {
    "animated.gif": (content(RED, "gif", **MANY), [255, 0, 0]),
    "animated.webp": (content(RED, "webp", lossless=True, **MANY), [255, 0, 0]),
    "animated.png": (content(RED, "png", **MANY), [255, 0, 0]),
    "pages.tiff": (content(RED, "tiff", **MANY), [255, 0, 0]),
    "int32.tiff": (content(Image.fromarray(np.full((2, 2), 257 * 9, np.int32)), "tiff"), [9, 9, 9]),
    "cmyk.tiff": (content(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "tiff"), [255, 0, 0]),
    "really a png.jpg": (PNG, [255, 0, 0]),
}
REFUSED = {
    "empty.png": (b"", "the file is empty"),
    "cut off.png": (content(Image.new("RGB", (64, 64)), "png")[:60], ""),
    "a page.jpg": (b"<html>404</html>", "no image that Pillow knows, whatever its suffix"),
    "many pixels.png": (
        PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)) + PNG[33:],
        "100000×100000 pixels are more than dataset.max_pixels = 89478485 allows",
    ),
    "much text.png": (
        PNG[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24))) + PNG[33:],
        "Decompressed data too large",
    ),
    "floats.tiff": (
        content(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "tiff"),
        "its pixels are floats, and nothing says of which range: save it with 8 or 16 bits",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_each_image_that_can_be_read_becomes_what_the_guide_says(tmp_path, name):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / name).write_bytes(READ[name][0])
    assert folder.build(path=str(tmp_path))[0]["image"][0, 0].tolist() == READ[name][1]


@pytest.mark.parametrize("name", REFUSED)
def test_each_image_that_can_not_is_refused_by_name_and_reason(tmp_path, name):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / name).write_bytes(REFUSED[name][0])
    with pytest.raises(ValueError) as caught:
        folder.build(path=str(tmp_path))[0]
    assert str(caught.value).startswith(f"k/{name}: ") and REFUSED[name][1] in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode there")
def test_any_name_is_read_and_told_without_harm(tmp_path):
    names = [b"a b.png", b"line\nend.png", b"\x1b[2J.png", b"g\xe9ant.png", b"<b>&.png", b"'\".png", b"%s{x}$(id).png"]
    (tmp_path / os.fsdecode(b"c\xe9 \n\x1b]0;x\x07")).mkdir()
    for name in names:
        (tmp_path / os.fsdecode(b"c\xe9 \n\x1b]0;x\x07/" + name)).write_bytes(PNG)
    source = folder.build(path=str(tmp_path))
    assert len(source) == len(names)
    assert all(source[i]["image"].shape == (2, 2, 3) for i in range(len(names)))
    assert "\x1b" not in harmless("".join(map(source.name_of, range(len(names)))))


@pytest.mark.parametrize("form", ["png", "jpeg", "gif", "tiff", "webp", "bmp", "ppm", "tga", "pcx"])
def test_a_damaged_file_is_an_image_or_an_error_whatever_is_damaged(form):
    draw = np.random.default_rng(0)
    whole = content(Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8)), form)
    for i in range(60):
        damaged = bytearray(whole)
        for at in draw.integers(0, [40, len(whole)][i % 2], size=1 + i % 9):
            damaged[at] = draw.integers(0, 256)
        damaged = damaged[: draw.integers(0, len(whole))] if i % 3 == 0 else damaged
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = decode(io.BytesIO(bytes(damaged)))
            except Exception as error:
                assert not isinstance(error, MemoryError)
            else:
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4)
