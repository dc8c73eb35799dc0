"""Advice with codes: what a careful reader would notice in a finished run, and what to do about it. Never a failure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.gradients import OF_WEIGHT, Pair, drowning, measured_gradients, pairs_of, unheard
from kdrecipes.recipe.recalibration import BATCHES, FEW_STEPS
from kdrecipes.report.facts import ArmFacts, Facts, Report
from kdrecipes.report.figures import log_softmax
from kdrecipes.report.history import Row
from kdrecipes.report.intervals import seeds_to_see
from kdrecipes.report.table import table_rows
from kdrecipes.report.verdict import unequal_pairs
from kdrecipes.wording import about_points, identical_words, points

FELL = 0.8  # a training loss that ends below this share of where it began has learnt something
SURE = 0.999  # a probability above it says as much as the label does
NONE = 1e-6  # a difference below it is none: what sums of floats leave
FEW_IMAGES = 500  # of test, one of which is a fifth of a point
LATE = 2.0  # standard errors of a difference between two epochs: what one must be better by than the last one
MOST_IMAGES = 1_000_000  # nobody has more test images
LEFT_OF_THE_START = 0.1  # share of a moving statistic
LONGER = "Train for more epochs."
ANEW = f"train.recalibrate_batch_norm = {BATCHES} estimates them anew at the end."

Check = Callable[[Facts, Report], Iterator[str]]


@dataclass(frozen=True)
class Rule:
    """What is looked for: its code, what it is in a line, and the check, which gives a sentence for each finding."""

    code: str
    title: str
    check: Check


def advice_of(facts: Facts, report: Report) -> list[dict[str, str]]:
    """`code` and `text` of all that a finished run gives reason to say, in the order of the codes.

    Args:
        facts: of the run.
        report: made from them; its own `advice` is not read.
    """
    return [{"code": rule.code, "text": text} for rule in RULES for text in rule.check(facts, report)]


def unequal_steps(facts: Facts, report: Report) -> Iterator[str]:
    for seed, (baseline, kd) in unequal_pairs(report["arms"]).items():
        yield (
            f"baseline-{seed} took {baseline:,} steps and kd-{seed} {kd:,}. Let both train to the end: "
            "leave out the callback that stopped one of them."
        )


def at_chance(facts: Facts, report: Report) -> Iterator[str]:
    share = float(np.bincount(facts.labels).max() / len(facts.labels))
    bound = share + 2 * _standard_error(share, len(facts.labels))
    for label, arm, row in zip(facts.arms, facts.arms.values(), report["arms"], strict=True):
        losses = [one["loss"] for one in _epochs(facts, arm)]
        if row["test_accuracy"] <= bound and losses[-1] < FELL * losses[0]:
            moving = (
                f"After few steps (here {arm.steps:,}) the statistics of batch normalisation are not the data's: "
                "train.recalibrate_batch_norm = 100 estimates them anew. Or train for more epochs."
            )
            yield (
                f"{label} has {100 * row['test_accuracy']:.1f} % of the test images right, and always naming the "
                f"commonest class {100 * share:.1f} %, though its training loss fell from {losses[0]:.2f} to "
                f"{losses[-1]:.2f}. {LONGER if arm.batch_norm.get('reestimated') else moving}"
            )


def best_was_earlier(facts: Facts, report: Report) -> Iterator[str]:
    images = facts.dataset.validation
    for label, row in zip(facts.arms, report["arms"], strict=True):
        reached = row["validation_accuracy"]
        best, last = max(reached), reached[-1]
        if images and best - last > LATE * np.sqrt(2) * _standard_error(best, images):
            yield (
                f"{label} was best after epoch {row['best_epoch']} of {len(reached)}: {100 * best:.1f} % of the "
                f"validation images, and {100 * last:.1f} % at the end. The students are those of the last epoch. A "
                "schedule that ends at zero lets the last be the best, as the default does; beside that, try a lower "
                "learning rate."
            )


def weak_teacher(facts: Facts, report: Report) -> Iterator[str]:
    rows = {row["role"]: row for row in table_rows(report)}  # of several teachers the last row is all together
    if not {"teacher", "baseline"} <= rows.keys() or _helped(report):  # a teacher can give more than it has shown
        return
    teacher = _validated(facts, "teacher") if len(facts.teachers) == 1 else []
    students = _validated(facts, "baseline")
    where, first, second = (
        ("validation", teacher[-1], float(np.mean(students)))
        if teacher
        else ("test", rows["teacher"]["accuracy"], rows["baseline"]["accuracy"])
    )
    if first <= second:
        who = "The teacher has" if len(facts.teachers) == 1 else "The teachers together have"
        yield (
            f"{who} {100 * first:.1f} % of the {where} images right and the labels-only students {100 * second:.1f} %. "
            "A teacher gives as far as it is better. Give it more: pretrained weights, a larger teacher.image_size, "
            "more epochs of its own, or a second [[teacher]]."
        )


def worse_probabilities(facts: Facts, report: Report) -> Iterator[str]:
    found = (report["comparison"] or {}).get("kd_minus_baseline")
    if not found or found["verdict"] == "hurt":
        return
    measures = (("test_loss", "test loss", lambda value: f"{value:+.3f} nats"), ("ece", "ECE", _points))
    worse = [
        f"{name} {shown(found[key]['mean'])}"
        for key, name, shown in measures
        if found[key]["ci95"] and found[key]["ci95"][0] > 0
    ]
    if worse:
        better = [name for key, name, _ in measures if found[key]["ci95"] and found[key]["ci95"][1] < 0]
        but = f", though {' and '.join(better)} is better" if better else ""
        yield (
            f"Distilled minus labels only: accuracy is not worse, but {' and '.join(worse)}; less is better{but}. "
            "A lower loss.temperature and a larger loss.label_weight keep them nearer to the labels."
        )


def sure_teacher(facts: Facts, report: Report) -> Iterator[str]:
    if facts.taught is None or not facts.temperatures or _helped(report):
        return
    lowest = min(facts.temperatures)
    sure = float(np.median(_largest_probability(facts.taught / lowest)))
    if sure > SURE:
        yield (
            f"At temperature {lowest:g} the teacher's largest probability is {sure:.4f} for the median test image: it "
            "says little more than a label does. A higher loss.temperature lets its other probabilities be heard; "
            "so does a teacher that is fine-tuned for fewer epochs."
        )


def cannot_tell(facts: Facts, report: Report) -> Iterator[str]:
    found = (report["comparison"] or {}).get("kd_minus_baseline")
    if not found or found["verdict"] != "unclear" or abs(found["mean"]) < NONE or unequal_pairs(report["arms"]):
        return
    if found["seeds"] == 1:
        yield _of_one_seed(found["detectable"], found["mean"], report["dataset"]["test"])
    if found["seeds"] < 3:
        return
    reached = {(row["arm"], row["seed"]): row["test_accuracy"] for row in report["arms"]}
    images = report["dataset"]["test"]
    differences = [reached["kd", seed] - other for (arm, seed), other in reached.items() if arm == "baseline"]
    seeds = seeds_to_see(differences)
    yield (
        f"{found['seeds']} seeds are too few to tell a difference of {points(found['mean'])} points from none. If it "
        + (
            f"is real, about {seeds} would show it: compare.seeds."
            if seeds
            else "is real, more than 100 would be needed to show it."
        )
        + (
            f" The test images are few too: one of {images:,} is {100 / images:.1f} points."
            if images < FEW_IMAGES
            else ""
        )
    )


def _of_one_seed(detectable: float, mean: float, images: int) -> str:
    """What a run of one seed could have seen; of how many seeds are needed it knows nothing."""
    needed = images * (detectable / mean) ** 2  # a standard error falls with the root of the images
    return (
        f"One seed and {images:,} test images could not have seen a difference below about {about_points(detectable)} "
        f"points, and {points(mean)} was found. How far students differ from seed to seed is unknown from one, and so "
        "is how many seeds would show a difference of this size: compare.seeds = [0, 1, 2] measures it. "
        + (
            f"About {_rounded_up(needed)} test images would tell these two students apart, if it is real."
            if needed < MOST_IMAGES
            else f"Not even {MOST_IMAGES:,} test images would tell these two students apart."
        )
    )


def measured_on_known_images(facts: Facts, report: Report) -> Iterator[str]:
    for one in facts.dataset.identical:
        if one["among"] != "labels":
            yield f"{identical_words(one)} Keep such images in one split, and photos of one scene together with them."


def two_labels(facts: Facts, report: Report) -> Iterator[str]:
    for one in facts.dataset.identical:
        if one["among"] == "labels":
            yield f"{identical_words(one)} Take out the wrong one of each pair."


def stale_statistics(facts: Facts, report: Report) -> Iterator[str]:
    for label, arm in facts.arms.items():
        if not arm.batch_norm or arm.batch_norm["reestimated"]:
            continue
        momentum = arm.batch_norm["momentum"]
        left = momentum**arm.steps
        if left > LEFT_OF_THE_START:
            why = (
                f"{100 * left:.0f} % of what its slowest batch normalisation holds is from before training "
                f"(momentum {momentum:g}, {arm.steps:,} steps)"
            )
        elif arm.steps < FEW_STEPS:
            why = f"{arm.steps:,} steps are few: its batch-norm statistics lag behind its weights"
        else:
            continue
        yield f"{label}: {why}. {ANEW}"


def unheard_terms(facts: Facts, report: Report) -> Iterator[str]:
    yield from _judged(facts, unheard)


def drowning_terms(facts: Facts, report: Report) -> Iterator[str]:
    yield from _judged(facts, drowning)


def _judged(facts: Facts, judge: Callable[[str, Sequence[Pair], float], str]) -> Iterator[str]:
    """What is to say of a term, over all distilled students and all epochs that were measured."""
    measured = [measured_gradients(row) for row in facts.rows if row["arm"] == "kd"]
    for name, pairs in pairs_of(measured).items():
        if text := judge(name, pairs, facts.label_weight):
            changes = any(f"{OF_WEIGHT}{name}" in row for row in facts.rows)
            yield f"{text} It was measured with the weight that its schedule had put in force." if changes else text


RULES = (
    Rule("KD001", "the students of a pair took different numbers of steps", unequal_steps),
    Rule("KD002", "a student answers at chance although its training loss fell", at_chance),
    Rule("KD003", "a student's best epoch was not its last", best_was_earlier),
    Rule("KD004", "the teacher is no better than the labels-only student", weak_teacher),
    Rule("KD005", "test loss or calibration is worse while accuracy is not", worse_probabilities),
    Rule("KD006", "the teacher's probabilities are nearly labels at this temperature", sure_teacher),
    Rule("KD007", "more seeds are needed to see a difference of this size", cannot_tell),
    Rule("KD008", "validation or test images are the same as training images", measured_on_known_images),
    Rule("KD009", "one image stands under two labels", two_labels),
    Rule("KD010", "too few steps for batch-norm statistics", stale_statistics),
    Rule("KD011", "a term does not move the student: its gradient is zero", unheard_terms),
    Rule("KD012", "a term's gradient is 100 times the label loss's", drowning_terms),
)


def _helped(report: Report) -> bool:
    found = (report["comparison"] or {}).get("kd_minus_baseline", {})
    return bool(found.get("verdict") == "helped")


def _epochs(facts: Facts, arm: ArmFacts) -> list[Row]:
    return [row for row in facts.rows if (row["arm"], row["seed"]) == (arm.arm, arm.seed)]


def _validated(facts: Facts, arm: str) -> list[float]:
    """The last validation accuracy of each network of an arm."""
    last = {row["seed"]: row["val_accuracy"] for row in facts.rows if row["arm"] == arm and "val_accuracy" in row}
    return list(last.values())


def _standard_error(share: float, images: int) -> float:
    return float(np.sqrt(share * (1 - share) / images))


def _largest_probability(logits: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.exp(log_softmax(logits).max(1)))


def _rounded_up(count: float) -> str:
    """To two digits: more would be more than is known."""
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return f"{math.ceil(count / step) * step:,}"


def _points(share: float) -> str:
    return f"{points(share)} points"
