"""Digests of what things are made of, and random numbers as a pure function of integers.

Views, held-out shares and fixed orders are drawn from these numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where it is used: what only makes digests, as a listing does, need not wait for NumPy
    import numpy as np

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15


def splitmix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea & Flood 2014, figure 16) of uint64 values, element by element."""
    import numpy as np

    with np.errstate(over="ignore"):
        z = np.asarray(values).astype(np.uint64) + np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return z ^ (z >> np.uint64(31))


def hash64(index: np.ndarray, *keys: int) -> np.ndarray:
    """uint64 hash of each index under the given integer keys; keys in another order give another hash."""
    import numpy as np

    state = 0
    for key in keys:
        state = int(splitmix64(np.asarray((state ^ int(key)) & _MASK, np.uint64)))
    return splitmix64(splitmix64(index) ^ np.uint64(state))


def uniform(index: np.ndarray, *keys: int) -> np.ndarray:
    """float64 in [0, 1), one for each index: 53 bits of `hash64`."""
    import numpy as np

    return (hash64(index, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def digest(*facts: Any) -> str:
    """sha256 (hex) of JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content; of a folder's, of the names and contents of all files in it."""
    if not path.is_dir():
        return file_sha256(path)
    files = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return digest([(file.relative_to(path).as_posix(), file_sha256(file)) for file in files])
