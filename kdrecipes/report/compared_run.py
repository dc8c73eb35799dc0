"""A finished run as a comparison reads it: its facts, its recipe, its students by seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.errors import UsageError, one_line
from kdrecipes.report.fact_files import damaged
from kdrecipes.report.facts import Facts, read_facts
from kdrecipes.report.predictions import called
from kdrecipes.report.run_list import check_finished, check_run_folder
from kdrecipes.report.same_test import apart_words, same_names, same_test_source
from kdrecipes.report.short_verdicts import seeds_words
from kdrecipes.report.sweep_results import refuse_point

Role = Literal["baseline", "kd"]


@dataclass(frozen=True)
class ComparedRun:
    """A finished run.

    Attributes:
        folder: as it was given.
        recipe: the resolved form, from lock.json.
        facts: all that its folder tells.
        index: int64 (test images,), each one's position in its split.
        listing: of a source that lists its files, what lay there, from lock.json; else empty.
    """

    folder: Path
    recipe: dict[str, Any]
    facts: Facts
    index: NDArray[Any]
    listing: Mapping[str, Any] = field(default_factory=dict)

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
        lock = read_json(folder / "lock.json")
        recipe, listing = lock["recipe"], lock.get("listing") or {}
        index = read_npz(predictions, ["index"])["index"]
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise damaged(folder, "predictions.npz", one_line(error)) from error
    return ComparedRun(folder, recipe, facts, index, listing)


def why_unlike(first: ComparedRun, other: ComparedRun) -> str:
    """Why the students of two runs can't be paired by seed and test image; empty where they can."""
    mine, theirs = first.facts.dataset, other.facts.dataset
    both = f"{first.folder} and {other.folder} can't be paired"
    if mine.name != theirs.name:
        return f"{both}: the dataset of one is {mine.name}, that of the other {theirs.name}."
    if mine.classes != theirs.classes:
        return f"{both}: their classes differ, {len(mine.classes):,} and {len(theirs.classes):,}."
    same = np.array_equal(first.index, other.index) and np.array_equal(first.facts.labels, other.facts.labels)
    if mine.fingerprint != theirs.fingerprint and not (same and _same_source(first, other)):
        told = f": {counts}" if (counts := apart_words(mine, theirs)) else ""
        return (
            f"{both}: their data have other fingerprints ({mine.fingerprint[:8]}…, {theirs.fingerprint[:8]}…), so "
            f"images, labels or splits differ{told}. Their files do not tell that the test images are the same."
        )
    if not same:
        return f"{both}: their predictions.npz are of other test images, {_apart(first, other)}."
    seeds = [sorted({arm.seed for arm in run.facts.arms.values()}) for run in (first, other)]
    if not set(seeds[0]) & set(seeds[1]):
        words = [seeds_words(one) for one in seeds]
        return f"{both}: they have no seed in common. One has {words[0]}; the other has {words[1]}."
    return ""


def data_apart(first: ComparedRun, other: ComparedRun) -> str:
    """What of the data of two runs that can be paired differs, beside their test images; empty where nothing does."""
    mine, theirs = first.facts.dataset, other.facts.dataset
    if mine.fingerprint == theirs.fingerprint:
        return ""
    return apart_words(mine, theirs) or "as many images, but other ones, in train or validation"


def _same_source(first: ComparedRun, other: ComparedRun) -> bool:
    """Whether equal indices and labels of test images are of equal images, as far as the files of two runs tell."""
    mine, theirs = ((run.recipe.get("dataset") or {}, run.listing) for run in (first, other))
    return same_test_source(mine, theirs) and same_names(*(run.folder / "predictions.npz" for run in (first, other)))


def _apart(first: ComparedRun, other: ComparedRun) -> str:
    """Where the test images of two runs part, in words."""
    if len(first.index) != len(other.index):
        return f"{len(first.index):,} and {len(other.index):,}"
    apart = np.flatnonzero((first.index != other.index) | (first.facts.labels != other.facts.labels))
    [mine], [theirs] = (called(run.folder / "predictions.npz", apart[:1]) for run in (first, other))
    return f"the first that differs is {mine} and {theirs}"
