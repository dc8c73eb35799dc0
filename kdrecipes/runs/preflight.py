"""Whether a teacher is fit to teach, judged on the validation split before any student trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kdrecipes.data.prepare import Data
from kdrecipes.data.splits import Split
from kdrecipes.errors import RunError
from kdrecipes.recipe.structure import show
from kdrecipes.recipe.tables import Recipe, TeacherTable
from kdrecipes.recipe.toml_writer import toml_value
from kdrecipes.report.figures import mean_recall
from kdrecipes.runs.permutation import Permutation, find_permutation
from kdrecipes.runs.predict import predict
from kdrecipes.runs.teacher import Teacher

RANGE_IMAGES = 500  # of validation that are shown in other ranges
_NAMED = 20  # classes named one by one


@dataclass
class Findings:
    """What a preflight found: problems, which no student should be taught with, and what is only worth a look."""

    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def preflight(
    teacher: Teacher, data: Data, size: int, class_names: Sequence[str] | None = None, *, tuned: str = ""
) -> Findings:
    """What is wrong with a teacher that sees images of `size` pixels per side.

    It is judged on the validation split by the mean recall of classes, which gives nothing to one that always says the
    same class. Checks that its logits are finite and no probabilities, that it does not take pixels of another range,
    that its outputs do not stand in another order than the classes, and that it is better than a constant answer by two
    standard errors. The last two need more images than `too_few` complains of. That it has a logit for each class was
    checked when it was built.

    Args:
        teacher, data: of the run.
        size: pixels per side that it sees.
        class_names: the order of its outputs, where the recipe gives one.
        tuned: the table that it was fine-tuned by, such as "teacher.train"; empty where it was not.
    """
    labels, n = data.validation.labels, len(data.validation)
    logits = predict(teacher.model, data.validation, size)
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(1).sum())
        return Findings([f"{bad} of {n} validation images give logits that are not finite"])
    found = Findings()
    if (logits >= 0).all() and np.allclose(logits.sum(1), 1, atol=1e-3):
        found.problems.append("its outputs are probabilities, not logits; build it without its softmax")
    if other := _better_range(teacher, data, size, logits):
        found.problems.append(other)
    if too_few(data):
        return found
    reached, least = mean_recall(logits, labels), _least(labels)
    permutation = find_permutation(logits.argmax(1), labels, len(data.classes))
    if permutation and (len(permutation.moved) > 2 or reached < least):
        found.problems.append(_another_order(permutation, data.classes, class_names, reached))
    elif permutation:
        found.advice.append(_two_swapped(permutation, data.classes, class_names))
    elif reached < least and not other:
        found.problems.append(
            f"its mean recall on {n} validation images is {reached:.1%}, and always naming the same class gives "
            f"{_chance(labels):.1%} (at least {least:.1%} needed); {_mend(tuned)}"
        )
    return found


def _mend(tuned: str) -> str:
    """What to do about a teacher that knows nothing of the classes."""
    if tuned:
        return f"[{tuned}] fine-tuned it, and did not teach it: more epochs, or another learning rate, may"
    return "is its head trained for these classes? [teacher.train] fine-tunes it"


def too_few(data: Data) -> str:
    """Why the validation images are too few to tell a trained teacher from a constant answer; else an empty text.

    They are where a mean recall half-way between that of a constant answer and 1 would not be enough.
    """
    labels, classes = data.validation.labels, len(data.classes)
    occur, chance = len(np.unique(labels)), _chance(labels)
    if occur > 1 and _least(labels) <= (1 + chance) / 2 + 1e-9:
        return ""
    each = max(1, math.ceil(16 / (classes * (classes - 1)))) if classes > 1 else 1
    return (
        f"validation has {len(labels)} image{'s' * (len(labels) != 1)} of {occur} class{'es' * (occur != 1)}, too few "
        "to judge a teacher by: whether it knows the classes, and their order, is not checked. Give dataset.validation "
        f"{each * classes} or more, of every class alike"
    )


def _chance(labels: np.ndarray) -> float:
    """The mean recall of a constant answer over the classes that occur."""
    return 1 / len(np.unique(labels))


def _least(labels: np.ndarray) -> float:
    """The mean recall that guesses stay below: that of a constant answer and two standard errors of a guess's."""
    chance, counts = _chance(labels), np.unique(labels, return_counts=True)[1]
    return chance + 2 * chance * math.sqrt(float((chance * (1 - chance) / counts).sum()))


def _another_order(
    permutation: Permutation, classes: Sequence[str], class_names: Sequence[str] | None, reached: float
) -> str:
    return (
        f"its outputs stand in another order than the dataset's classes: {_moves(permutation, classes)}. On "
        f"{int(permutation.counts.sum())} validation images its mean recall is {reached:.1%}, and "
        f"{permutation.mean_recall:.1%} in that order. If it knows these classes, say in its table "
        f"what its outputs are: {_names_line(permutation, classes, class_names)}"
    )


def _two_swapped(permutation: Permutation, classes: Sequence[str], class_names: Sequence[str] | None) -> str:
    return (
        f"it takes two classes for each other: {_moves(permutation, classes)}. If its outputs stand in another order "
        f"than the dataset's classes, say in its table what they are: {_names_line(permutation, classes, class_names)}"
    )


def _moves(permutation: Permutation, classes: Sequence[str]) -> str:
    """Class by class, what its images are called; how many of how many."""
    counts, moved = permutation.counts, permutation.moved
    words = [
        f"{show(classes[c])} comes out as {show(classes[name])} ({counts[c, name]} of {counts[c].sum()} images)"
        for c, name in ((c, permutation.name_of[c]) for c in moved[:_NAMED])
    ]
    more = [f"and {len(moved) - _NAMED} more classes"] if len(moved) > _NAMED else []
    return ", ".join(words + more)


def _names_line(permutation: Permutation, classes: Sequence[str], class_names: Sequence[str] | None) -> str:
    """The line of a recipe that names a teacher's outputs as they were found."""
    means = {classes[name]: classes[c] for c, name in enumerate(permutation.name_of)}
    return f"class_names = {toml_value([means[name] for name in class_names or classes])}"


def _better_range(teacher: Teacher, data: Data, size: int, logits: np.ndarray) -> str:
    """What is wrong where a teacher does much better on pixels of another range than on 0–255; else an empty text.

    Judged on 500 validation images by the mean recall of classes, to which a network that always says the same class,
    as most do on pixels that mean nothing to them, is no better than chance. Better is 10 points, and three standard
    errors of a difference.
    """
    spread = slice(None, None, max(1, len(data.validation) // RANGE_IMAGES))
    part = Split(data.validation.store, data.validation.positions[spread])
    reached = mean_recall(logits[spread], part.labels)
    margin = max(0.1, 3 * math.sqrt(0.5 / len(part)))
    tried = []
    for text, layer, scale, offset in (
        ("from 0 to 1", "Rescaling(1 / 255)", 1 / 255, 0.0),
        ("from −1 to 1", "Rescaling(1 / 127.5, -1)", 1 / 127.5, -1.0),
    ):
        other = predict(teacher.model, part, size, scale=scale, offset=offset)
        tried.append((mean_recall(other, part.labels), text, layer))
    best, text, layer = max(tried)
    if best <= reached + margin:
        return ""
    return (
        f"on {len(part)} validation images its mean recall is {reached:.1%}, and with pixels {text} {best:.1%}: a run "
        f"gives every network pixels from 0 to 255, so put a {layer} layer into it"
    )


def check_teacher(recipe: Recipe, table: TeacherTable, teacher: Teacher, data: Data) -> None:
    """Run a teacher's preflight and act as `teacher.preflight` says.

    Raises:
        RunError: when a check fails and the recipe says "stop".
    """
    tuned = f"{table.place}.train" if table.train else ""
    found = preflight(teacher, data, data.size(table), table.class_names, tuned=tuned)
    if found.problems and table.preflight == "stop":
        raise RunError(
            f"The teacher {table.id!r} did not pass its preflight: {'; '.join(found.problems)}. "
            f'No student was trained. {table.place}.preflight = "warn" goes on regardless.'
        )
    teacher.warnings += [f"{recipe.label_of(table)} preflight: {text}" for text in (*found.problems, *found.advice)]
