"""Points of a sweep that were measured on other validation images: why a figure is missing, what ranks then compare."""

from __future__ import annotations

from collections.abc import Sequence

from kdrecipes.report.sweep_results import Point, ranked
from kdrecipes.wording import some_of


def images_words(points: Sequence[Point]) -> str:
    """That some points have other validation images than the first one, and what follows; empty where all have these.

    A point without a difference to the first one has other images, since seeds are the sweep's.
    """
    if not points or not ranked(points[:1]):
        return ""
    first = points[0]["point"]
    others = [point["point"] for point in ranked(points[1:]) if point["kd_minus_first"] is None]
    if not others:
        return ""
    several = len(others) > 1
    return (
        f"Point{'s' * several} {some_of(sorted(others), 'points')} {'were' if several else 'was'} measured on other "
        f"validation images than point {first}, so “minus point {first}” is missing there. Ranks compare different "
        "images here: a point may be ahead because its images are easier."
    )


def first_words(points: Sequence[Point]) -> str:
    """Why nothing is compared with the first point, where it has no result and others have one; else empty."""
    if len(points) < 2 or ranked(points[:1]) or not ranked(points):
        return ""
    return f"Point {points[0]['point']} has no result, so no point is compared with it."
