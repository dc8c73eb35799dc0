"""Random numbers as a pure function of integers: what views, held-out shares and fixed orders are drawn from."""

from __future__ import annotations

import numpy as np

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15


def splitmix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea & Flood 2014, figure 16) of uint64 values, element by element."""
    with np.errstate(over="ignore"):
        z = np.asarray(values).astype(np.uint64) + np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return z ^ (z >> np.uint64(31))


def hash64(index: np.ndarray, *keys: int) -> np.ndarray:
    """uint64 hash of each index under the given integer keys; keys in another order give another hash."""
    state = 0
    for key in keys:
        state = int(splitmix64(np.asarray((state ^ int(key)) & _MASK, np.uint64)))
    return splitmix64(splitmix64(index) ^ np.uint64(state))


def uniform(index: np.ndarray, *keys: int) -> np.ndarray:
    """float64 in [0, 1), one for each index: 53 bits of `hash64`."""
    return (hash64(index, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53
