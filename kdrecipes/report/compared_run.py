"""A finished run as a comparison reads it: its facts, its recipe, its students by seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdrecipes.errors import UsageError, one_line
from kdrecipes.report.facts import Facts, damaged, read_facts
from kdrecipes.report.predictions import called
from kdrecipes.report.run_list import check_finished, check_run_folder
from kdrecipes.report.sweep_results import refuse_point
from kdrecipes.report.typed_json import parsed

Role = Literal["baseline", "kd"]


@dataclass(frozen=True)
class ComparedRun:
    """A finished run.

    Attributes:
        folder: as it was given.
        recipe: the resolved form, from lock.json.
        facts: all that its folder tells.
        index: int64 (test images,), each one's position in its split.
    """

    folder: Path
    recipe: dict[str, Any]
    facts: Facts
    index: NDArray[Any]

    def students(self, role: Role) -> dict[int, NDArray[Any]]:
        """By seed, the test logits of a role's students: float32 (test images, classes)."""
        arms = {label: arm for label, arm in self.facts.arms.items() if arm.arm == role}
        return {arm.seed: self.facts.logits[label] for label, arm in arms.items()}

    def right(self, role: Role) -> dict[int, NDArray[Any]]:
        """By seed, which test images a role's students tell right: bool (test images,)."""
        return {seed: logits.argmax(1) == self.facts.labels for seed, logits in self.students(role).items()}


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs in folders, in the order given; a folder of run folders, such as a sweep's confirm, stands for them.

    Raises:
        UsageError: telling all that is wrong: fewer than two runs, one twice, one that is not finished or damaged.
    """
    wanted = [run for folder in folders for run in _within(folder)]
    problems: list[str] = []
    seen: dict[Path, Path] = {}
    runs: list[ComparedRun] = []
    for folder in wanted:
        if same := seen.get(folder.resolve()):
            twice = f"{folder} is given twice" if same == folder else f"{same} and {folder} are one folder"
            problems.append(f"{twice}. A run is compared with others.")
            continue
        seen[folder.resolve()] = folder
        try:
            runs.append(_read(folder))
        except UsageError as error:
            problems.append(str(error))
    if not problems and len(wanted) < 2:
        one = f"only {wanted[0]} is" if wanted else "none is"
        problems.append(f"Two runs or more are compared, and {one} given: kdrecipes compare RUN RUN.")
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return runs


def _within(folder: Path) -> list[Path]:
    """The folder itself where it is a run's, else the run folders in it; itself again where there are none."""
    if (folder / "lock.json").is_file() or not folder.is_dir():
        return [folder]
    return sorted(path for path in folder.iterdir() if (path / "lock.json").is_file()) or [folder]


def _read(folder: Path) -> ComparedRun:
    check_run_folder(folder)
    predictions = folder / "predictions.npz"
    refuse_point(folder, "runs are compared on test")
    check_finished(folder, "only finished runs are compared")
    if not predictions.is_file():
        raise UsageError(
            f"{folder} has no predictions.npz, and runs are compared by what they say of each test image. "
            f"`kdrecipes run RECIPE --out {folder} --overwrite` makes the run anew."
        )
    facts = read_facts(folder)
    try:
        recipe = parsed((folder / "lock.json").read_text(encoding="utf-8"))["recipe"]
        with np.load(predictions, allow_pickle=False) as stored:
            index = stored["index"]
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise damaged(folder, "predictions.npz", one_line(error)) from error
    return ComparedRun(folder, recipe, facts, index)


def why_unlike(first: ComparedRun, other: ComparedRun) -> str:
    """Why the students of two runs can't be paired by seed and test image; empty where they can."""
    mine, theirs = first.facts.dataset, other.facts.dataset
    both = f"{first.folder} and {other.folder} can't be paired"
    if mine.name != theirs.name:
        return f"{both}: the dataset of one is {mine.name}, that of the other {theirs.name}."
    if mine.classes != theirs.classes:
        return f"{both}: their classes differ, {len(mine.classes):,} and {len(theirs.classes):,}."
    if mine.fingerprint != theirs.fingerprint:
        counts = [
            f"{part} {getattr(mine, part):,} and {getattr(theirs, part):,} images"
            for part in ("train", "labelled", "unlabelled", "validation", "test")
            if getattr(mine, part) != getattr(theirs, part)
        ]
        told = f": {', '.join(counts)}" if counts else ""
        return (
            f"{both}: their data have other fingerprints ({mine.fingerprint[:8]}…, {theirs.fingerprint[:8]}…), so "
            f"images, labels or splits differ{told}."
        )
    same = np.array_equal(first.index, other.index) and np.array_equal(first.facts.labels, other.facts.labels)
    if not same:
        return f"{both}: their predictions.npz are of other test images, {_apart(first, other)}."
    seeds = [sorted({arm.seed for arm in run.facts.arms.values()}) for run in (first, other)]
    if not set(seeds[0]) & set(seeds[1]):
        words = [", ".join(map(str, one)) for one in seeds]
        return f"{both}: they have no seed in common. The seeds are {words[0]}, and {words[1]}."
    return ""


def _apart(first: ComparedRun, other: ComparedRun) -> str:
    """Where the test images of two runs part, in words."""
    if len(first.index) != len(other.index):
        return f"{len(first.index):,} and {len(other.index):,}"
    apart = np.flatnonzero((first.index != other.index) | (first.facts.labels != other.facts.labels))
    [mine], [theirs] = (called(run.folder / "predictions.npz", apart[:1]) for run in (first, other))
    return f"the first that differs is {mine} and {theirs}"
