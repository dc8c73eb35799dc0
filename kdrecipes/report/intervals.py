"""How far a paired difference could move, over test images or over seeds, and how large one a run could have seen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# SciPy takes a second to import, so each function that computes with it imports what it needs.

BOOTSTRAP_DRAWS = 10_000
NORMAL = 1.959964  # the normal distribution's 0.975 quantile
ENTRIES = 300_000  # of a chunk of resamples: images × draws, so that few megabytes are in use at a time


def accuracy_over_images(first: NDArray[Any], second: NDArray[Any]) -> list[float]:
    """The percentile bootstrap's 95% interval of the difference in accuracy; bool (examples,) each: what is right."""
    # A resample of images draws how many of each paired outcome (+1, 0, −1) it holds: a multinomial.
    gain = first.astype(int) - second.astype(int)
    shares = [(gain == outcome).mean() for outcome in (1, 0, -1)]
    draws = np.random.default_rng(0).multinomial(len(gain), shares, BOOTSTRAP_DRAWS)
    return _middle((draws[:, 0] - draws[:, 2]) / len(gain))


def share_over_images(share: float, images: int) -> list[float]:
    """Wilson's 95% interval (JASA 22, 1927) of a share of `images`, such as an accuracy."""
    squared = NORMAL**2 / images
    middle, reach = share + squared / 2, NORMAL * float(np.sqrt(share * (1 - share) / images + squared / images / 4))
    return [max(0.0, (middle - reach) / (1 + squared)), min(1.0, (middle + reach) / (1 + squared))]


def recall_over_images(only_first: int, only_second: int, images: int) -> list[float]:
    """A 95% interval of the difference of two shares of the same images, made for few images.

    This is Bonett and Price's adjusted Wald interval (J. Educ. Behav. Stat. 37(4), 2012): Wald's with one more image
    for each of the two counts. A class often has a few dozen test images, and the two networks differ on two or three:
    there a bootstrap knows too few outcomes, and of equal networks it makes an interval without width.

    Args:
        only_first, only_second: images that only this network is right about.
        images: all of the class, 1 or more.
    """
    more, less = (only_first + 1) / (images + 2), (only_second + 1) / (images + 2)
    reach = NORMAL * float(np.sqrt((more + less - (more - less) ** 2) / (images + 2)))
    return [max(-1.0, more - less - reach), min(1.0, more - less + reach)]


def loss_and_ece_over_images(
    loss: NDArray[Any], first: NDArray[Any], second: NDArray[Any]
) -> tuple[list[float], list[float]]:
    """The bootstrap's 95% intervals of the differences in mean loss and in ECE: 10,000 draws of images, fixed seed.

    Of the loss it is the percentile interval. Of ECE it is the basic one, [2d − high, 2d − low], with d the difference
    found and low, high the percentiles (Davison and Hinkley 1997, chapter 5). ECE adds up distances, so that of a
    resample is too large by about as much as that of the sample. Percentiles would hold this bias twice: where one
    network is calibrated and the other is not, they mostly miss the truth. The basic interval takes the bias out.

    Args:
        loss: float64 (examples,), the first network's loss minus the second's.
        first, second: float64 (examples, bins), of each network: 1 or 0 for right or wrong minus confidence, in the
            column of the image's bin; 0 elsewhere. ECE is the sum over bins of |sum over images| / images.
    """
    images, bins = first.shape
    columns = np.column_stack([loss, first, second])

    def ece(sums: NDArray[Any]) -> NDArray[Any]:
        apart = np.abs(sums[:, 1:]) / images
        return np.asarray(apart[:, :bins].sum(1) - apart[:, bins:].sum(1))

    sums = resampled_sums(columns)
    [found] = ece(columns.sum(0, keepdims=True))
    low, high = _middle(ece(sums))
    return _middle(sums[:, 0] / images), [float(2 * found - high), float(2 * found - low)]


def resampled_sums(values: NDArray[Any]) -> NDArray[Any]:
    """The sums of each column over resamples of the rows, as many rows as there are; float64 (draws, columns)."""
    rows, columns = values.shape
    # Whole numbers whose sum stays below 2^53 add up exactly in any order: each number of threads finds the same bits.
    _, exponents = np.frexp(rows * np.abs(values).max(0))
    whole = np.rint(np.ldexp(values, 52 - exponents))
    generator = np.random.default_rng(0)
    sums = np.empty((BOOTSTRAP_DRAWS, columns))
    step = max(1, ENTRIES // rows)
    for start in range(0, BOOTSTRAP_DRAWS, step):
        draws = min(step, BOOTSTRAP_DRAWS - start)
        drawn = generator.integers(0, rows, (draws, rows)) + rows * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=draws * rows).reshape(draws, rows)
        sums[start : start + draws] = counts.astype(np.float64) @ whole
    return np.asarray(np.ldexp(sums, exponents - 52))


def _middle(draws: NDArray[Any]) -> list[float]:
    """The middle 95 % of them."""
    return [float(v) for v in np.percentile(draws, [2.5, 97.5])]


def over_seeds(differences: Sequence[float]) -> list[float]:
    """The 95% t interval of their mean."""
    from scipy.stats import ttest_1samp

    with warnings.catch_warnings():  # equal differences are no mistake: the interval is their mean
        warnings.simplefilter("ignore")
        low, high = ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return [float(low), float(high)]


def over_pairs(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, list[float] | None]:
    """The mean difference in accuracy over seeds, and its 95% interval.

    One seed: the paired bootstrap over images. Three or more: a t interval over seeds. Two: None.

    Args:
        pairs: for each seed what two students told right, of the same images: bool (images,) each.
    """
    gains = [float(first.mean() - second.mean()) for first, second in pairs]
    if len(pairs) == 1:
        return gains[0], accuracy_over_images(*pairs[0])
    return float(np.mean(gains)), over_seeds(gains) if len(pairs) > 2 else None


def finest(images: int) -> float:
    """The largest share of images on which networks may differ though none of so many test images shows it.

    The upper end of Clopper and Pearson's 95% interval (Biometrika 26(4), 1934) for a count of 0: 1 − 0.025^(1/images).
    """
    return float(1 - 0.025 ** (1 / images))


def detectable(gains: Sequence[NDArray[Any]]) -> float | None:
    """The least true difference in accuracy whose interval would leave out 0 in about four of five such runs.

    This is Bloom's minimum detectable effect (Evaluation Review 19(5), 1995) for a two-sided test at 5 % with a power
    of about 80 %: (q(0.975) + q(0.8)) · standard error. The quantiles q are those of the interval's distribution.

    - One seed: the normal distribution, (1.96 + 0.84) · sd / √images, with sd over images of +1, 0 and −1.
    - n = 3 seeds or more: Student's t with n − 1 degrees of freedom, (t(0.975) + t(0.8)) · sd / √n, with sd over seeds
      of the difference in accuracy.

    Args:
        gains: whole numbers (images,) for each seed: +1 where only the first network is right, −1 where only the second
            is, else 0.

    Returns:
        A share of accuracy, from 0; 0 where all images or seeds differ alike. None with two seeds, which have no
        interval.
    """
    from scipy.stats import norm, t

    n, images = len(gains), len(gains[0])
    if n == 2:
        return None
    if n == 1:
        return float((norm.ppf(0.975) + norm.ppf(0.8)) * gains[0].std() / np.sqrt(images))
    # Of counts, since the standard deviation of equal whole numbers is exactly 0.
    deviation = np.std([int(gain.sum()) for gain in gains], ddof=1) / images
    return float((t.ppf(0.975, n - 1) + t.ppf(0.8, n - 1)) * deviation / np.sqrt(n))


def seeds_to_see(differences: Sequence[float], most: int = 100) -> int | None:
    """How many seeds would show a difference like the mean of these, if it is real, in about four of five runs.

    Args:
        differences: of three seeds or more, shares of accuracy; not all the same.
        most: more are not looked for.

    Returns:
        The least n for which `detectable` of n seeds, with the standard deviation of these, is at most their mean's
        size; None where even `most` are too few.
    """
    from scipy.stats import t

    mean, deviation = abs(float(np.mean(differences))), float(np.std(differences, ddof=1))
    for n in range(3, most + 1):
        if (t.ppf(0.975, n - 1) + t.ppf(0.8, n - 1)) * deviation / np.sqrt(n) <= mean:
            return n
    return None
