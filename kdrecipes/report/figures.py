"""Figures on a split, from float32 logits: accuracy, cross-entropy, calibration, F1, agreement, paired comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ECE_BINS = 15
TOP5_FROM = 20
BOOTSTRAP_DRAWS = 10_000


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 (examples, classes)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose largest logit is the label's."""
    return float((logits.argmax(1) == labels).mean())


def mean_recall(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their examples that are told right (balanced accuracy)."""
    right = logits.argmax(1) == labels
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))


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


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of 2·TP / (2·TP + FP + FN)."""
    guess = logits.argmax(1)
    scores = []
    for c in np.unique(labels):
        right = np.sum((guess == c) & (labels == c))
        scores.append(2 * right / (np.sum(guess == c) + np.sum(labels == c)))
    return float(np.mean(scores))


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
    from scipy.stats import binomtest, t

    right = [(a.argmax(1) == labels, b.argmax(1) == labels) for a, b in zip(firsts, seconds, strict=True)]
    differences = [float(a.mean() - b.mean()) for a, b in right]
    n = len(seeds)
    interval: list[float] | None = None
    if n == 1:
        # A resample of images draws how many of each paired outcome (+1, 0, −1) it holds: a multinomial.
        gain = right[0][0].astype(int) - right[0][1].astype(int)
        shares = [(gain == outcome).mean() for outcome in (1, 0, -1)]
        draws = np.random.default_rng(0).multinomial(len(labels), shares, BOOTSTRAP_DRAWS)
        interval = [float(v) for v in np.percentile((draws[:, 0] - draws[:, 2]) / len(labels), [2.5, 97.5])]
    elif n >= 3:
        half = float(t.ppf(0.975, n - 1)) * float(np.std(differences, ddof=1)) / math.sqrt(n)
        interval = [float(np.mean(differences)) - half, float(np.mean(differences)) + half]
    tests = []
    for seed, (a, b) in zip(seeds, right, strict=True):
        only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
        odd = only_first + only_second
        p = float(binomtest(only_first, odd, 0.5).pvalue) if odd else 1.0
        tests.append({"seed": seed, "first": only_first, "second": only_second, "p": p})
    return {
        "mean": float(np.mean(differences)),
        "ci95": interval,
        "ci95_over": "seeds" if n > 1 else "test images",
        "seeds": n,
        "mcnemar": tests,
    }
