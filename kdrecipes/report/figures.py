"""Figures on a split, from float32 logits: accuracy, cross-entropy, calibration, F1, agreement, paired comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kdrecipes.report.intervals import accuracy_over_images, detectable, loss_and_ece_over_images, over_seeds

# SciPy and scikit-learn take a second to import, so each function that computes with them imports what it needs.

ECE_BINS = 15
TOP5_FROM = 20


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


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example with its label, in nats; float64 (examples,)."""
    return np.asarray(-log_softmax(logits)[np.arange(len(labels)), labels])


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of accuracy from top-1 confidence over 15 equal-width bins (Guo et al. 2017, eq. 3), at T = 1."""
    right, confidence, bins = calibration(logits, labels)
    total = 0.0
    for b in range(ECE_BINS):
        inside = bins == b
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(total)


def calibration(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each example: whether it is right, its top-1 confidence, and the bin of that; (examples,) each."""
    confidence = np.exp(log_softmax(logits).max(1))
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return logits.argmax(1) == labels, confidence, bins


def _gaps(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Right (1 or 0) minus confidence of each example, in the column of its bin; float64 (examples, bins)."""
    right, confidence, bins = calibration(logits, labels)
    gaps = np.zeros((len(labels), ECE_BINS))
    gaps[np.arange(len(labels)), bins] = right - confidence
    return gaps


def figures(logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray | None = None) -> dict[str, float]:
    """A network's test figures; `top5` from 20 classes on, `agreement` where there is a teacher.

    Args:
        logits: float32 (examples, classes).
        labels: int64 (examples,).
        teacher: the teacher's logits on the same examples.
    """
    result = {
        "test_accuracy": accuracy(logits, labels),
        "test_loss": float(losses(logits, labels).mean()),
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
    """The first minus the second network on test, paired by image and seed: accuracy, loss and calibration.

    Args:
        firsts, seconds: logits, one pair for each seed.
        seeds: the seeds.
        labels: int64 (examples,).

    Returns:
        Of accuracy, a share: `mean`; `ci95`: one seed, the percentile bootstrap over test images (10,000 draws, fixed
        seed); three or more, a t interval over seeds; two, None; `ci95_over`; `seeds`, how many; `mcnemar`, the exact
        test for each seed; `detectable`, the difference that could have been seen, None with two seeds (see
        `intervals.detectable`). `test_loss` (nats) and `ece` (a share), each with `mean` and `ci95` as for accuracy; of
        both less is better.
    """
    pairs = list(zip(firsts, seconds, strict=True))
    right = [(a.argmax(1) == labels, b.argmax(1) == labels) for a, b in pairs]
    loss = [(losses(a, labels), losses(b, labels)) for a, b in pairs]
    differences = {
        "accuracy": [float(a.mean() - b.mean()) for a, b in right],
        "test_loss": [float(a.mean() - b.mean()) for a, b in loss],
        "ece": [expected_calibration_error(a, labels) - expected_calibration_error(b, labels) for a, b in pairs],
    }
    found: dict[str, Any] = {key: {"mean": float(np.mean(one)), "ci95": None} for key, one in differences.items()}
    if len(seeds) == 1:
        [(first, second)] = pairs
        found["accuracy"]["ci95"] = accuracy_over_images(*right[0])
        found["test_loss"]["ci95"], found["ece"]["ci95"] = loss_and_ece_over_images(
            loss[0][0] - loss[0][1], _gaps(first, labels), _gaps(second, labels)
        )
    elif len(seeds) >= 3:
        for key, values in differences.items():
            found[key]["ci95"] = over_seeds(values)
    return {
        **found.pop("accuracy"),
        "ci95_over": "seeds" if len(seeds) > 1 else "test images",
        "seeds": len(seeds),
        "mcnemar": [{"seed": seed} | _mcnemar(a, b) for seed, (a, b) in zip(seeds, right, strict=True)],
        **found,
        "detectable": detectable([a.astype(int) - b.astype(int) for a, b in right]),
    }


def _mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """The exact test on the images that only one network tells right."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    odd = only_first + only_second
    p = float(binomtest(only_first, odd, 0.5).pvalue) if odd else 1.0
    return {"first": only_first, "second": only_second, "p": p}
