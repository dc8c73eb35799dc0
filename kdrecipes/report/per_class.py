"""What distillation gave and took, class by class: differences of recall, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.report.drawing import INK, Chart, empty_figure, quiet
from kdrecipes.report.intervals import finest, over_seeds, recall_over_images
from kdrecipes.wording import escaped, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DRAWN = 30  # classes; of more, those with the largest gains and the largest losses
MOST_LISTED = 500
LONGEST_NAME = 24
EVERY = {1: "each", 2: "every second", 3: "every third", 4: "every fourth", 5: "every fifth"}


@dataclass(frozen=True)
class Gain:
    """Of one class: its `images`, both recalls (means over seeds), and their difference.

    `ci95` is the difference's 95% interval: over test images with one seed, over seeds with three or more, None with
    two. All are shares.
    """

    name: str
    images: int
    baseline: float
    kd: float
    difference: float
    ci95: list[float] | None


def gains_of(
    kd: Sequence[NDArray[Any]], baseline: Sequence[NDArray[Any]], labels: NDArray[Any], classes: Sequence[str]
) -> list[Gain]:
    """Of each class that has test images, the largest gain first.

    Args:
        kd, baseline: test logits, a pair for each seed.
        labels: int64 (test images,).
        classes: their names.
    """
    pairs = [(a.argmax(1) == labels, b.argmax(1) == labels) for a, b in zip(kd, baseline, strict=True)]
    gains = []
    for index in np.unique(labels):
        inside = labels == index
        own = [(a[inside], b[inside]) for a, b in pairs]
        first, second = (float(np.mean([one[side].mean() for one in own])) for side in (0, 1))
        images = int(inside.sum())
        gains.append(Gain(classes[index], images, second, first, first - second, _interval(own, images)))
    return sorted(gains, key=lambda gain: -gain.difference)


def _interval(pairs: list[tuple[NDArray[Any], NDArray[Any]]], images: int) -> list[float] | None:
    if len(pairs) == 1:
        [(first, second)] = pairs
        return recall_over_images(int((first & ~second).sum()), int((second & ~first).sum()), images)
    if len(pairs) == 2:
        return None
    low, high = over_seeds([(int(a.sum()) - int(b.sum())) / images for a, b in pairs])
    share = finest(images) if low == high else 0.0  # no spread: it is seen as finely as the images are many
    return [max(-1.0, low - share), min(1.0, high + share)]


def per_class(gains: Sequence[Gain]) -> Chart | None:
    """The differences as dots and whiskers, and as a table; None where there are no classes to speak of."""
    if not gains:
        return None
    shown = list(gains) if len(gains) <= MOST_DRAWN else [*gains[: MOST_DRAWN // 2], *gains[-MOST_DRAWN // 2 :]]
    up, down = (sum(np.sign(gain.difference) == sign for gain in gains) for sign in (1, -1))
    best, worst = gains[0], gains[-1]
    half = MOST_DRAWN // 2
    note = f"The first {half} and the last {half} of {len(gains):,} classes by difference. " if shown != gains else ""
    extremes = [f"The largest gain: {best.name}, {points(best.difference)} points."] if up else []
    extremes += [f"The largest loss: {worst.name}, {points(worst.difference)} points."] if down else []
    whiskers = "Whiskers: 95% intervals." if best.ci95 else "Two seeds are too few for intervals."
    rows = gains if len(gains) <= MOST_LISTED else [*gains[: MOST_LISTED // 2], *gains[-MOST_LISTED // 2 :]]
    return Chart(
        name="per_class",
        title="Recall of each class, distilled − labels only",
        note=f"{note}In points; right of the line the distilled student is better. {whiskers}",
        said=" ".join([f"{up} of {len(gains)} classes gain and {down} lose.", *extremes]),
        headings=["Class", "Images", "Labels only, %", "Distilled, %", "Difference, points", "95% interval"],
        lines=[_line(gain) for gain in rows],
        roles=["kd"],
        draw=partial(dots, shown),
    )


def _line(gain: Gain) -> list[str]:
    ends = f"{points(gain.ci95[0])} to {points(gain.ci95[1])}" if gain.ci95 else "–"
    shares = [f"{100 * gain.baseline:.1f}", f"{100 * gain.kd:.1f}", points(gain.difference)]
    return [gain.name, f"{gain.images:,}", *shares, ends]


def chance_words(gains: Sequence[Gain]) -> str:
    """What so many intervals at once are worth; empty where there are none."""
    if not gains or gains[0].ci95 is None:
        return ""
    count = len(gains)
    apart = sum(1 for gain in gains if gain.ci95 and not gain.ci95[0] <= 0 <= gain.ci95[1])
    if count == 1:
        return ""
    if count > 26:
        missed = f"about {count / 20:.0f} of these {count:,} miss in each report"
    else:
        often = round(20 / count)
        missed = f"one of these {count} misses in about {EVERY.get(often, f'every {often}th')} report"
    return (
        f"{apart} of {count:,} intervals leave out 0. Each interval misses its class’s true difference in one of 20 "
        f"reports, so {missed}, by chance alone. A class that stands out is a hint to look at, not a finding."
    )


def dots(gains: Sequence[Gain]) -> Figure:
    """A dot and a whisker for each class, the largest gain on top."""
    figure, axes = empty_figure((4.6, max(1.6, 0.7 + 0.21 * len(gains))))
    heights = [-float(i) for i in range(len(gains))]
    axes.axvline(0, color=INK["muted"], linewidth=0.9)
    for height, gain in zip(heights, gains, strict=True):
        surely = gain.ci95 is not None and not gain.ci95[0] <= 0 <= gain.ci95[1]
        if gain.ci95:
            ends = [100 * end for end in gain.ci95]
            axes.plot(ends, [height] * 2, color=INK["kd"], linewidth=1.6, alpha=1.0 if surely else 0.5)
        axes.plot(
            [100 * gain.difference],
            [height],
            color=INK["kd"],
            marker="o",
            markersize=5,
            fillstyle="full" if surely else "none",
        )
    axes.set_yticks(heights, [short(gain.name) for gain in gains], parse_math=False)
    axes.set_ylim(heights[-1] - 0.6, 0.6)
    axes.set_xlabel("points of recall")
    quiet(axes, lines="x")
    axes.spines["bottom"].set_visible(False)
    return figure


def short(name: str) -> str:
    """As much of a class's name as has room; XML holds no control characters."""
    text = escaped("".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else " " for c in name))
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
