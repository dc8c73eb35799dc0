"""Whether a teacher is fit to teach, judged on the validation split before any student trains."""

from __future__ import annotations

import math

import numpy as np

from kdrecipes.data.examples import Split
from kdrecipes.data.prepare import Data
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import Recipe, TeacherTable
from kdrecipes.report.figures import accuracy, mean_recall
from kdrecipes.runs.predict import predict
from kdrecipes.runs.teacher import Teacher

_RANGE_IMAGES = 500


def preflight(teacher: Teacher, data: Data, size: int) -> list[str]:
    """What is wrong with a teacher that sees images of `size` pixels per side; an empty list when nothing is.

    It is judged on the validation split.

    Checks that its logits are finite and no probabilities, that it does not take pixels of another range, and that its
    validation accuracy is above chance (1 / classes) by two standard errors. That it has a logit for each class was
    checked when it was built.
    """
    classes, n = len(data.classes), len(data.validation)
    logits = predict(teacher.model, data.validation, size)
    if not np.isfinite(logits).all():
        return [f"{int((~np.isfinite(logits)).any(1).sum())} of {n} validation images give logits that are not finite"]
    problems = []
    if (logits >= 0).all() and np.allclose(logits.sum(1), 1, atol=1e-3):
        problems.append("its outputs are probabilities, not logits; build it without its softmax")
    reached = accuracy(logits, data.validation.labels)
    if other := _better_range(teacher, data, size, logits):
        problems.append(other)
    chance = 1 / classes
    least = chance + 2 * math.sqrt(chance * (1 - chance) / n)
    if reached < least and not other:
        problems.append(
            f"its validation accuracy is {reached:.1%}, and guessing gives {chance:.1%} (at least {least:.1%} needed "
            f"on {n} images); is its head trained for these classes? [teacher.train] fine-tunes it"
        )
    return problems


def _better_range(teacher: Teacher, data: Data, size: int, logits: np.ndarray) -> str:
    """What is wrong where a teacher does much better on pixels of another range than on 0–255; else an empty text.

    Judged on 500 validation images by the mean recall of classes, to which a network that always says the same class,
    as most do on pixels that mean nothing to them, is no better than chance. Better is 10 points, and three standard
    errors of a difference.
    """
    spread = slice(None, None, max(1, len(data.validation) // _RANGE_IMAGES))
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
    problems = preflight(teacher, data, data.size(table))
    if problems and table.preflight == "stop":
        raise RunError(
            f"The teacher {table.id!r} did not pass its preflight: {'; '.join(problems)}. "
            f'No student was trained. {table.place}.preflight = "warn" goes on regardless.'
        )
    teacher.warnings += [f"{recipe.label_of(table)} preflight: {problem}" for problem in problems]
