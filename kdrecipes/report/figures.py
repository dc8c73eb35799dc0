"""Figures on a split, from float32 logits: accuracy, cross-entropy, calibration, F1, agreement, paired comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# SciPy and scikit-learn take a second to import, so each function that computes with them imports what it needs.

ECE_BINS = 15
TOP5_FROM = 20
BOOTSTRAP_DRAWS = 10_000


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 (examples, classes)."""
    from scipy import special

    return np.asarray(special.log_softmax(logits.astype(np.float64), axis=1))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose largest logit is the label's."""
    return float((logits.argmax(1) == labels).mean())


def mean_recall(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their examples that are told right (balanced accuracy)."""
    from sklearn.metrics import recall_score

    return _macro(recall_score, logits, labels)


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of 2·TP / (2·TP + FP + FN)."""
    from sklearn.metrics import f1_score

    return _macro(f1_score, logits, labels)


def _macro(score: Callable[..., float], logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean of a score of scikit-learn over the classes that occur among the labels."""
    with warnings.catch_warnings():  # some versions doubt that many classes with few examples each are classes
        warnings.simplefilter("ignore")
        return float(score(labels, logits.argmax(1), labels=np.unique(labels), average="macro"))


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of accuracy from top-1 confidence over 15 equal-width bins (Guo et al. 2017, eq. 3), at T = 1."""
    confidence = np.exp(log_softmax(logits).max(1))
    right = logits.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    total = 0.0
    for b in range(ECE_BINS):
        inside = bins == b
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(total)


def figures(logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray | None = None) -> dict[str, float]:
    """A network's test figures; `top5` from 20 classes on, `agreement` where there is a teacher.

    Args:
        logits: float32 (examples, classes).
        labels: int64 (examples,).
        teacher: the teacher's logits on the same examples.
    """
    result = {
        "test_accuracy": accuracy(logits, labels),
        "test_loss": float(-log_softmax(logits)[np.arange(len(labels)), labels].mean()),
        "ece": expected_calibration_error(logits, labels),
        "macro_f1": macro_f1(logits, labels),
    }
    if logits.shape[1] >= TOP5_FROM:
        best = np.argpartition(-logits, 5, axis=1)[:, :5]
        result["top5"] = float((best == labels[:, None]).any(1).mean())
    if teacher is not None:
        result["agreement"] = float((logits.argmax(1) == teacher.argmax(1)).mean())
    return result


def compare(
    firsts: list[np.ndarray], seconds: list[np.ndarray], seeds: list[int], labels: np.ndarray
) -> dict[str, Any]:
    """Accuracy of the first minus the second network, paired by image and seed.

    Args:
        firsts, seconds: logits, one pair for each seed.
        seeds: the seeds.
        labels: int64 (examples,).

    Returns:
        `mean`; `ci95`: one seed, the percentile bootstrap over test images (10,000 draws, fixed seed); three or more,
        a t interval over seeds; two, None; `ci95_over`; `seeds`, how many; `mcnemar`, the exact test for each seed.
    """
    right = [(a.argmax(1) == labels, b.argmax(1) == labels) for a, b in zip(firsts, seconds, strict=True)]
    differences = [float(a.mean() - b.mean()) for a, b in right]
    n = len(seeds)
    interval: list[float] | None = None
    if n == 1:
        interval = _interval_over_images(*right[0])
    elif n >= 3:
        interval = _interval_over_seeds(differences)
    return {
        "mean": float(np.mean(differences)),
        "ci95": interval,
        "ci95_over": "seeds" if n > 1 else "test images",
        "seeds": n,
        "mcnemar": [{"seed": seed} | _mcnemar(a, b) for seed, (a, b) in zip(seeds, right, strict=True)],
    }


def _interval_over_images(first: np.ndarray, second: np.ndarray) -> list[float]:
    """The percentile bootstrap's 95% interval of the difference in accuracy; bool (examples,) each: what is right."""
    # A resample of images draws how many of each paired outcome (+1, 0, −1) it holds: a multinomial.
    gain = first.astype(int) - second.astype(int)
    shares = [(gain == outcome).mean() for outcome in (1, 0, -1)]
    draws = np.random.default_rng(0).multinomial(len(gain), shares, BOOTSTRAP_DRAWS)
    return [float(v) for v in np.percentile((draws[:, 0] - draws[:, 2]) / len(gain), [2.5, 97.5])]


def _interval_over_seeds(differences: Sequence[float]) -> list[float]:
    """The 95% t interval of their mean."""
    from scipy.stats import ttest_1samp

    with warnings.catch_warnings():  # equal differences are no mistake: the interval is their mean
        warnings.simplefilter("ignore")
        low, high = ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return [float(low), float(high)]


def _mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """The exact test on the images that only one network tells right."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    odd = only_first + only_second
    p = float(binomtest(only_first, odd, 0.5).pvalue) if odd else 1.0
    return {"first": only_first, "second": only_second, "p": p}
