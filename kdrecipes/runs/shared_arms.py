"""Trained students that the points of a sweep share, each kept under the digest of all that it depends on."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.data.prepare import Data
from kdrecipes.disk.files import raise_what_lacks, remove_unfinished
from kdrecipes.disk.json_files import read_json, write_sealed
from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.disk.saved_facts import is_whole
from kdrecipes.errors import RunError, one_line
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import ArmFacts
from kdrecipes.report.typed_json import typed
from kdrecipes.runs.arms import Arm, fit_arm
from kdrecipes.runs.folder import RunFolder
from kdrecipes.runs.predict import predict
from kdrecipes.runs.predictions import write_arrays
from kdrecipes.training.keeper import Row
from kdrecipes.training.state import StateFolder


@dataclass(frozen=True)
class KeptArm:
    """A trained student: its folder, facts, epochs, and float32 logits on validation (images, classes).

    `point`: which point's turn it was trained in.
    """

    folder: Path
    point: str
    facts: ArmFacts
    rows: list[Row]
    logits: NDArray[Any]


def kept_arm(folder: Path) -> KeptArm | None:
    """The student that a folder holds; None where it is not whole, such as one that is being trained."""
    try:
        told = read_json(folder / "arm.json")
        logits = read_npz(folder / "validation.npz")["logits"]
        facts = typed(ArmFacts, told["facts"])
        if not is_whole(folder / facts.student):
            raise ValueError(f"{facts.student} is not that of its checksum")
        return KeptArm(folder, told["point"], facts, told["rows"], logits)
    except FileNotFoundError:  # it is being trained
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise_what_lacks(error)
        told = f"{folder} holds a damaged student ({one_line(error)}); it is trained again."
        warnings.warn(told, stacklevel=2)
        return None


def train_kept_arm(
    folder: Path,
    point: str,
    recipe: Recipe,
    arm: Arm,
    data: Data,
    *fit: Any,
    keep: Callable[[list[Row]], None] = lambda rows: None,
    progress: Any,
) -> KeptArm:
    """Train an arm into its folder, which whoever calls has locked; one that was interrupted goes on.

    Args:
        folder: under the arm's digest.
        point: whose turn it is.
        recipe, arm, data, fit, keep, progress: as for `fit_arm`.

    Raises:
        RunError: when the student fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    made = fit_arm(recipe, arm, data, *fit, folder=folder, progress=progress, keep=keep)
    logits = predict(made.student, data.validation, data.student_size)
    if not np.isfinite(logits).all():
        raise RunError(f"{arm.label}: the trained student gives logits on validation images that are not finite.")
    write_arrays(folder / "validation.npz", {"logits": logits})
    told = {"point": point, "facts": asdict(made.facts), "rows": made.rows}
    write_sealed(folder / "arm.json", told)  # last: from here on it is whole
    StateFolder(folder / "state").clear()
    return KeptArm(folder, point, made.facts, made.rows, logits)


def give(kept: KeptArm, arm: Arm, run: RunFolder) -> None:
    """Put a kept student into the run folder of a point: its file, its epochs, its facts."""
    file = kept.folder / kept.facts.student
    students = run.path / "students"
    students.mkdir(exist_ok=True)
    StateFolder(kept.folder / "state").clear()  # its process may have been killed just before it did that
    for one in (file, file.with_suffix(".json")):
        if one.is_file():
            _link(one, students / one.name)
    run.keep_rows(arm.arm, arm.seed, kept.rows)
    run.keep_arm(arm.label, replace(kept.facts, student=f"students/{file.name}"))


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system knows no such."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write_validation(run: Path, data: Data, logits: Sequence[tuple[Arm, NDArray[Any]]]) -> None:
    """Write validation.npz of a point: `labels`, `index`, and each arm's logits under its label."""
    arrays = {arm.label: one for arm, one in logits}
    write_arrays(run / "validation.npz", {"labels": data.validation.labels, "index": data.validation.index, **arrays})
