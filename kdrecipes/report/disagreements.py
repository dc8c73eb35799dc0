"""Which test images the networks of a run disagree on: those that distillation mended, those it broke, the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUPS = ("mended", "broken", "other")


def disagreements(labels: NDArray[Any], named: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The test images on which not all networks name the same class, each in one group.

    Args:
        labels: int64 (images,).
        named: int64 (images,), the classes that a network names, by its role: "teacher", which is all teachers together
            where there are several, "baseline" and "kd".

    Returns:
        Positions of images, int64, ascending, by group. With both students: `"mended"`, the baseline is wrong and the
        distilled student right, and `"broken"`, the other way round. With two networks or more: `"other"`, all other
        disagreements.
    """
    if len(named) < 2:
        return {}
    first, *rest = named.values()
    left = np.any([other != first for other in rest], axis=0)
    found = {}
    if "baseline" in named and "kd" in named:
        before, after = named["baseline"] == labels, named["kd"] == labels
        for group, those in (("mended", ~before & after), ("broken", before & ~after)):
            found[group] = np.flatnonzero(those)
            left &= ~those
    return {**found, "other": np.flatnonzero(left)}
