"""What the arrays of an `.npz` file say they need, compared with what the file holds, before memory is asked for."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

_MOST = 100  # times: what packs better is no array of numbers that anybody measured or trained
_SMALL = 2**28  # bytes, below which any array may be packed as well as it can be


def refuse_bombs(path: Path) -> None:
    """Refuse an `.npz` file of which a part unpacks to far more than it holds.

    Raises:
        ValueError: naming the part.
        OSError, zipfile.BadZipFile: when it is no such file, or damaged.
    """
    from numpy.lib import format as layout

    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > max(_SMALL, _MOST * member.compress_size):
                held = f"{member.compress_size:,}"
                raise ValueError(f"{member.filename} unpacks to {member.file_size:,} bytes, of which it holds {held}")
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as stream:
                version = layout.read_magic(stream)
                read = layout.read_array_header_1_0 if version == (1, 0) else layout.read_array_header_2_0
                shape, _, dtype = read(stream)
            needed = math.prod(shape) * dtype.itemsize
            if not dtype.hasobject and needed > member.file_size:
                raise ValueError(
                    f"{member.filename} says it has {needed:,} bytes, of which it holds {member.file_size:,}: cut off?"
                )
