"""Reliability diagrams: how often a network is right when it is this sure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.report.drawing import INK, MARKERS, Chart, quiet, unit_above
from kdrecipes.report.figures import ECE_BINS, calibration, expected_calibration_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 20  # images of a bin; its share of right ones says little

Bins = NDArray[np.float64]


def bins_of(logits: NDArray[Any], labels: NDArray[Any]) -> Bins:
    """float64 (15, 3): of each bin of confidence the images, their mean confidence and the share that is right.

    The bins are those of ECE: b holds confidences above b/15 up to (b + 1)/15. Of an empty bin the last two are NaN.
    """
    right, confidence, bins = calibration(logits, labels)
    images = np.bincount(bins, minlength=ECE_BINS).astype(np.float64)
    sums = [np.bincount(bins, weights=values, minlength=ECE_BINS) for values in (confidence, right)]
    with np.errstate(invalid="ignore"):
        return np.column_stack([images, *(total / images for total in sums)])


def reliability(
    found: Mapping[str, Sequence[NDArray[Any]]], labels: NDArray[Any], names: Mapping[str, str]
) -> Iterator[Chart]:
    """A diagram for each role; of several seeds, all their answers together.

    Args:
        found: by role, the test logits of each seed.
        labels: int64 (test images,).
        names: of the roles.
    """
    for role, logits in found.items():
        if not logits:
            continue
        bins = bins_of(np.concatenate(logits), np.tile(labels, len(logits)))
        ece = 100 * float(np.mean([expected_calibration_error(one, labels) for one in logits]))
        seeds = f", mean of {len(logits)} seeds" if len(logits) > 1 else ""
        gap = float(np.nansum(bins[:, 0] * (bins[:, 2] - bins[:, 1])) / bins[:, 0].sum())
        sure = "less sure than it is right" if gap > 0 else "surer than it is right"
        yield Chart(
            name=f"reliability_{role}",
            title=f"{names[role][0].upper()}{names[role][1:]}: ECE {ece:.2f} %{seeds}",
            note=f"On the whole {sure}, by {abs(100 * gap):.2f} points.",
            said=f"ECE {ece:.2f} %. On the whole {sure}, by {abs(100 * gap):.2f} points of accuracy.",
            headings=["Confidence, %", "Images", "Mean confidence, %", "Right, %"],
            lines=[_line(b, *row) for b, row in enumerate(bins) if row[0]],
            roles=[role],
            draw=partial(diagram, bins, role),
        )


def _line(b: int, images: float, confidence: float, right: float) -> list[str]:
    low, high = 100 * b / ECE_BINS, 100 * (b + 1) / ECE_BINS
    return [f"{low:.1f} to {high:.1f}", f"{int(images):,}", f"{100 * confidence:.1f}", f"{100 * right:.1f}"]


def diagram(bins: Bins, role: str) -> Figure:
    """Right over confidence, with the distance from the diagonal; below, how many images each bin has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2, 3.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    edges = 100 * np.arange(ECE_BINS) / ECE_BINS
    held = bins[bins[:, 0] > 0]
    confidence, right = 100 * held[:, 1], 100 * held[:, 2]
    axes.plot([0, 100], [0, 100], color=INK["muted"], linewidth=0.8, linestyle=":")
    axes.vlines(confidence, confidence, right, color=INK[role], linewidth=4, alpha=0.25)
    axes.plot(confidence, right, color=INK[role], linewidth=1.4)
    for many, inside in (("full", held[:, 0] >= FEW), ("none", held[:, 0] < FEW)):
        if inside.any():  # dots that are nowhere would upset the layout
            dots = {"marker": MARKERS[role], "markersize": 4.5, "fillstyle": many, "clip_on": False}
            axes.plot(confidence[inside], right[inside], color=INK[role], linestyle="", **dots)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))
    unit_above(axes, "right, %")
    below.bar(edges, bins[:, 0], width=100 / ECE_BINS * 0.85, align="edge", color=INK[role], alpha=0.6)
    below.set_yticks([0, int(bins[:, 0].max())], ["0", f"{int(bins[:, 0].max()):,}"])
    below.set_xlabel("confidence, %")
    unit_above(below, "images")
    for one in (axes, below):
        quiet(one)
    return figure
