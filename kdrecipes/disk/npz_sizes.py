"""What archives and arrays say they need, compared with what their files hold, before memory is asked for."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

# What zipfile, zlib, json and NumPy raise on files that are damaged, or made to harm, beside an OSError.
DAMAGE = (
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    RuntimeError,  # a part that says it is encrypted; NotImplementedError and RecursionError are such too
    SyntaxError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST = 100  # times: what packs better is no array of numbers that anybody measured or trained
_SMALL = 2**28  # bytes, below which any array may be packed as well as it can be


def refuse_bombs(file: Path | IO[bytes]) -> None:
    """Refuse an `.npz` or `.keras` file that unpacks to far more than it holds.

    Raises:
        ValueError: naming the part.
        OSError, zipfile.BadZipFile: when it is no such file, or damaged.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            if member.file_size > max(_SMALL, _MOST * member.compress_size):
                large = f"{member.filename} unpacks to {member.file_size:,} bytes"
                raise ValueError(f"{large}, of which it holds {member.compress_size:,}")
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as stream:
                refuse_large(stream, member.file_size, member.filename)
    whole, held = sum(member.file_size for member in members), sum(member.compress_size for member in members)
    if whole > max(_SMALL, _MOST * held):
        raise ValueError(f"its parts together unpack to {whole:,} bytes, of which it holds {held:,}")


def refuse_large(stream: IO[bytes], size: int, name: str) -> None:
    """Refuse an array, of an `.npy` file or of a part of an `.npz` file, that says it is larger than it is.

    Args:
        stream: at its beginning.
        size: bytes that it holds.
        name: for the message.

    Raises:
        ValueError: naming it.
    """
    shape, dtype = header_of(stream)
    needed = math.prod(shape) * max(dtype.itemsize, 1)  # entries of no bytes would be as many as one likes
    if not dtype.hasobject and needed > size:
        raise ValueError(f"{name} says it has {needed:,} bytes, of which it holds {size:,}: cut off?")


def header_of(stream: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    """Shape and NumPy dtype that an array's file begins with.

    Raises:
        ValueError: when it is no such file.
    """
    from numpy.lib import format as layout

    version = layout.read_magic(stream)
    read = layout.read_array_header_1_0 if version == (1, 0) else layout.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype
