"""sweep.json: how it is read, how its points are ranked, and the figures of a point from what its students said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from kdrecipes.disk.json_files import parsed
from kdrecipes.disk.summed_files import read_summed, write_summed
from kdrecipes.errors import UsageError, one_line
from kdrecipes.report.intervals import over_pairs

FILE = "sweep.json"
Right = Mapping[int, NDArray[Any]]  # by seed: bool (validation images,), what a student told right


class Difference(TypedDict):
    """A paired difference in accuracy: `mean` over `seeds` many seeds, and its 95% interval."""

    mean: float
    ci95: list[float] | None
    ci95_over: str
    seeds: int


class SeedAccuracy(TypedDict):
    """The validation accuracy of one seed's students; None where there is no such student."""

    seed: int
    kd: float | None
    baseline: float | None


class Accuracy(TypedDict):
    """The validation accuracy of a point: `mean` and standard deviation over seeds, and of each of `seeds`."""

    mean: float
    sd: float | None
    seeds: list[SeedAccuracy]


class Point(TypedDict):
    """One entry of `points`; schemas/sweep.schema.json says what each key holds."""

    point: str
    changes: dict[str, Any]
    label: str
    status: Literal["waiting", "running", "done", "failed", "pruned"]
    message: str | None
    recipe_sha256: str
    rank: int | None
    validation_accuracy: Accuracy | None
    kd_minus_baseline: Difference | None
    kd_minus_first: Difference | None
    arms_trained: int
    arms_shared: int
    seconds: float


class SweepResults(TypedDict):
    """All of sweep.json; schemas/sweep.schema.json says what each key holds."""

    schema_version: int
    name: str
    status: Literal["running", "done", "failed", "stopped"]
    command: str
    recipe_sha256: str
    kind: Literal["grid", "points", "search"]
    swept: list[str]
    seeds: list[int]
    dataset: dict[str, Any] | None
    points: list[Point]
    importance: list[dict[str, Any]] | None
    confirmed: list[dict[str, Any]]
    to_confirm: NotRequired[int]
    trainings: dict[str, int]
    seconds: float
    environment: dict[str, Any]


@cache
def _schema() -> Any:
    return json.loads((resources.files("kdrecipes.schemas") / "sweep.schema.json").read_text(encoding="utf-8"))


def check_sweep(results: Any) -> None:
    """Validate against `sweep.schema.json`.

    Raises:
        jsonschema.ValidationError: when the results are not what the schema promises.
    """
    from jsonschema import Draft7Validator

    Draft7Validator(_schema()).validate(results)


def write_sweep(folder: Path, results: SweepResults) -> None:
    """Write the sweep.json of a sweep's folder, atomically."""
    write_summed(folder / FILE, json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_sweep(folder: Path) -> SweepResults:
    """What the sweep.json of a sweep's folder holds.

    Raises:
        UsageError: when it is missing, damaged or of another version.
    """
    from jsonschema import ValidationError

    file = folder / FILE
    try:
        results = parsed(read_summed(file))
        check_sweep(results)
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no sweep: there is no {FILE}.") from None
    except ValidationError as error:
        raise UsageError(f"{file} is no sweep of this version of kdrecipes: {one_line(error)[:200]}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} can't be read ({one_line(error)}).") from error
    return cast(SweepResults, results)


def refuse_point(run: Path, why: str) -> None:
    """Refuse a point's folder where a run's is wanted, which has figures of test.

    Args:
        run: the folder.
        why: what is wanted and not there, as it follows "and".

    Raises:
        UsageError: when it is a point's.
    """
    begun = run.resolve().parent.name == "points" and (run.resolve().parents[1] / FILE).is_file()
    if (begun or (run / "validation.npz").is_file()) and not (run / "predictions.npz").is_file():
        raise UsageError(
            f"{run} is a point of a sweep, which is measured on validation alone, and {why}. `kdrecipes sweep … "
            "--confirm 3` runs the best points again, as runs under confirm/."
        )


def ranked(points: Sequence[Point]) -> list[Point]:
    """The points that are done, the best by mean validation accuracy first; of equal ones the earlier first."""
    done = [point for point in points if point["status"] == "done" and point["validation_accuracy"]]
    return sorted(done, key=lambda point: -mean_of(point))


def unconfirmed(results: SweepResults) -> list[Point]:
    """Of the best points those that are to be confirmed yet, the best first."""
    there = {one["point"] for one in results["confirmed"]}
    best = ranked(results["points"])[: results.get("to_confirm", 0)]
    return [point for point in best if point["point"] not in there]


def standing_of(results: SweepResults) -> Literal["running", "done", "failed"]:
    """How a sweep stands of which every point is drawn: by its points, and by those that are to be confirmed."""
    states = {point["status"] for point in results["points"]}
    if states & {"waiting", "running"} or unconfirmed(results):
        return "running"
    return "failed" if "failed" in states else "done"


def rank(points: Sequence[Point]) -> None:
    """Write each point's rank into it: 1 the best, equal accuracies share the better one, None where it is not done."""
    for point in points:
        point["rank"] = None
    before: Point | None = None
    for place, point in enumerate(ranked(points), 1):
        same = before is not None and mean_of(before) == mean_of(point)
        point["rank"] = before["rank"] if same and before else place
        before = point


def mean_of(point: Point) -> float:
    """The validation accuracy of a point that is done, the mean over seeds."""
    return cast(Accuracy, point["validation_accuracy"])["mean"]


def accuracy_of(kd: Right, baseline: Right) -> Accuracy:
    """A point's validation accuracy, of its distilled students; where there are none, of the labels-only ones.

    Args:
        kd, baseline: what the students told right; one of them may be empty.
    """
    seeds: list[SeedAccuracy] = [
        {"seed": seed, "kd": _share(kd.get(seed)), "baseline": _share(baseline.get(seed))} for seed in (kd or baseline)
    ]
    each = [float(right.mean()) for right in (kd or baseline).values()]
    return {
        "mean": float(np.mean(each)),
        "sd": float(np.std(each, ddof=1)) if len(each) > 1 else None,
        "seeds": seeds,
    }


def _share(right: NDArray[Any] | None) -> float | None:
    return None if right is None else float(right.mean())


def difference(firsts: Right, seconds: Right) -> Difference | None:
    """The first students minus the second in validation accuracy, paired by seed and image; None without a pair.

    One seed: the paired bootstrap over the validation images. Three or more: a t interval over seeds. Two: none.
    """
    seeds = [seed for seed in firsts if seed in seconds]
    pairs = [(firsts[seed], seconds[seed]) for seed in seeds]
    if not pairs or any(a.shape != b.shape for a, b in pairs):
        return None
    mean, interval = over_pairs(pairs)
    over = "validation images" if len(pairs) == 1 else "seeds"
    return {"mean": mean, "ci95": interval, "ci95_over": over, "seeds": len(pairs)}
