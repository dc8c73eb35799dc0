"""The facts of a run: what its steps write into the folder `facts` as they end, and all that a report is made from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any

from numpy.typing import NDArray

from kdrecipes.disk.files import new_file
from kdrecipes.disk.json_files import sealed
from kdrecipes.errors import one_line
from kdrecipes.recipe.structure import definition
from kdrecipes.report.fact_files import damaged, path_of, read_json, read_one, read_rows, read_several
from kdrecipes.report.history import Row
from kdrecipes.report.measures import MeasureFacts
from kdrecipes.report.predictions import ENSEMBLE, read_predictions, unlike
from kdrecipes.report.sweep_results import refuse_point

Report = dict[str, Any]


@dataclass(frozen=True)
class RecipeFacts:
    """How the process that finished the run was given its recipe; what it resolves to is in lock.json.

    Attributes:
        name: the recipe's.
        description: the recipe's; empty where it has none.
        source: where it was read from, as given.
        overrides: the `--set` texts, in order.
        text: the file, word for word.
        effective: TOML that leaves nothing out, each value with where it came from.
    """

    name: str
    description: str
    source: str
    overrides: list[str]
    text: str
    effective: str


@dataclass(frozen=True)
class DatasetFacts:
    """The data. `classes` are their names; `train` … `skipped` count images.

    Of the training images `labelled` have a label that is used and `unlabelled` have none. `unreadable` names the first
    of those `skipped`, with `split`, `name` and `reason`. `left_out` says what the source never gave, for each `split`
    and `reason` how many `files`, with the first `names`. `warnings`: what the reader should know of the data.
    `identical`: images that stand in a second place too, as `data.duplicates.Identical` has them.
    """

    name: str
    fingerprint: str
    classes: list[str]
    train: int
    labelled: int
    unlabelled: int
    validation: int
    test: int
    converted: int
    skipped: int
    unreadable: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    identical: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher that is ready to teach.

    Attributes:
        component, params: the model component, and its number of weights.
        sha256, reused: hex, of its weights; whether an earlier run fine-tuned it.
        seconds: `fit`, of fine-tuning; `outputs`, of computing its outputs once, None where it is asked live.
        logits: its key in predictions.npz, which is its id.
        warnings: what its preflight let pass.
        asked: by the students "once" for all logits, at all "steps", "both" or "never"; empty where that is not known.
    """

    component: str
    params: int
    sha256: str
    reused: bool
    seconds: dict[str, Any]
    logits: str
    warnings: list[str]
    asked: str = field(default_factory=str)


@dataclass(frozen=True)
class ArmFacts:
    """A trained student: arm and seed, its file in the run folder, weights, labels used, epochs, steps and seconds.

    `batch_norm`: the largest `momentum` of its batch normalisations, 0 to 1; from how many batches their statistics
    were `reestimated` at the end, 0 for the moving ones; and `why`. Empty where it has none. `network`: in words, what
    a term put in the student's place; else empty.
    """

    arm: str
    seed: int
    student: str
    params: int
    labels: int
    epochs: int
    steps: int
    seconds: float | int
    batch_norm: dict[str, Any] = field(default_factory=dict)
    network: str = field(default_factory=str)

    def __post_init__(self) -> None:
        if PurePath(self.student).is_absolute() or ".." in PurePath(self.student).parts:  # a stranger's run
            raise ValueError(f"student leads out of the run's folder: {self.student!r}")


@dataclass(frozen=True)
class EnvironmentFacts:
    """Of the process that finished the run: its command, what changed since it began, the rest as in report.json."""

    command: str
    warnings: list[str]
    environment: dict[str, Any]
    time: dict[str, Any] = field(default_factory=dict)
    energy: dict[str, Any] = field(default_factory=dict)


Fact = RecipeFacts | DatasetFacts | TeacherFacts | ArmFacts | EnvironmentFacts | MeasureFacts


@dataclass(frozen=True)
class Facts:
    """A finished run, as its folder tells it.

    Attributes:
        recipe_sha256, student: hex, of the resolved recipe; the student's model component.
        margin: share of accuracy below which a difference is practically none.
        temperatures, label_weight: of the recipe's terms that have one; of its label loss.
        recipe, dataset, environment: as above.
        teachers: by id, in the recipe's order.
        arms: by label such as "kd-0", in the order of training.
        rows: the history, one for each epoch of a teacher or an arm; `arm`, `seed`, `epoch` and figures, and of
            several teachers `teacher`, its id.
        logits: float32 (test images, classes), by a teacher's key, by `ENSEMBLE` where there are several teachers, and
            by an arm's label.
        labels: int64 (test images,).
        measures: what its networks cost to run; None where that was not measured.
    """

    recipe_sha256: str
    student: str
    margin: float
    temperatures: Sequence[float]
    label_weight: float
    recipe: RecipeFacts
    dataset: DatasetFacts
    teachers: Mapping[str, TeacherFacts]
    arms: Mapping[str, ArmFacts]
    environment: EnvironmentFacts
    rows: Sequence[Row]
    logits: Mapping[str, NDArray[Any]]
    labels: NDArray[Any]
    measures: MeasureFacts | None = None

    @property
    def taught(self) -> NDArray[Any] | None:
        """Test logits of what the students were taught by: of all teachers together, or of the only one."""
        keys = [teacher.logits for teacher in self.teachers.values()]
        return self.logits[ENSEMBLE if len(keys) > 1 else keys[0]] if keys else None


def write_facts(run: Path, name: str, facts: Fact | Mapping[str, Fact]) -> None:
    """Write `facts/<name>.json` of a run folder, atomically.

    Args:
        run: the run folder.
        name: "recipe", "dataset", "teachers", "arms", "environment" or "measures".
        facts: of one thing, or of several by name.
    """
    value = {key: asdict(one) for key, one in facts.items()} if isinstance(facts, Mapping) else asdict(facts)
    with new_file(run / path_of(name), "w") as file:
        # ASCII: a class may be named by bytes of a folder's name that no UTF-8 file can hold.
        file.write(json.dumps(sealed(value), indent=2, allow_nan=False) + "\n")


def read_teachers(run: Path) -> dict[str, TeacherFacts]:
    """The facts of the teachers that are ready, by name; empty where nothing was written down yet.

    Raises:
        UsageError: when the file is damaged.
    """
    return read_several(run, "teachers", TeacherFacts) if (run / path_of("teachers")).is_file() else {}


def read_arms(run: Path) -> dict[str, ArmFacts]:
    """The facts of the arms that are trained, by label; empty where nothing was written down yet.

    Raises:
        UsageError: when the file is damaged.
    """
    return read_several(run, "arms", ArmFacts) if (run / path_of("arms")).is_file() else {}


def read_facts(run: Path) -> Facts:
    """All that a run folder tells about its run, checked to be whole.

    Raises:
        UsageError: when a file is missing, damaged or does not belong to the others.
    """
    lock = read_json(run, "lock.json")
    try:
        sha256, student = str(lock["recipe_sha256"]), str(lock["recipe"]["student"]["name"])
        default = definition("compare")["properties"]["margin"]["default"]  # for a lock that is older than this key
        margin = float(lock["recipe"].get("compare", {}).get("margin", default))
        loss = lock["recipe"].get("loss", {})
        temperatures = [float(t["temperature"]) for t in [loss, *loss.get("terms", [])] if "temperature" in t]
        label_weight = float(loss.get("label_weight", 1.0))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(run, "lock.json", one_line(error)) from error
    try:
        labels, logits = read_predictions(run / "predictions.npz")
    except ValueError as error:
        refuse_point(run, "has no report of its own")
        raise damaged(run, "predictions.npz", str(error)) from error
    recipe = read_one(run, "recipe", RecipeFacts)
    try:
        tomllib.loads(recipe.effective)
    except tomllib.TOMLDecodeError as error:
        raise damaged(run, path_of("recipe"), one_line(error)) from error
    facts = Facts(
        recipe_sha256=sha256,
        student=student,
        margin=margin,
        temperatures=temperatures,
        label_weight=label_weight,
        recipe=recipe,
        dataset=read_one(run, "dataset", DatasetFacts),
        teachers=read_several(run, "teachers", TeacherFacts),
        arms=read_several(run, "arms", ArmFacts),
        environment=read_one(run, "environment", EnvironmentFacts),
        measures=read_one(run, "measures", MeasureFacts) if (run / path_of("measures")).is_file() else None,
        rows=read_rows(run),
        logits=logits,
        labels=labels,
    )
    _refuse_unlike(run, facts)
    return facts


def _refuse_unlike(run: Path, facts: Facts) -> None:
    """Refuse files that are whole and yet not of one run."""
    together = [ENSEMBLE] if len(facts.teachers) > 1 else []
    keys = [*(teacher.logits for teacher in facts.teachers.values()), *together, *facts.arms]
    shape = (facts.dataset.test, len(facts.dataset.classes))
    if why := unlike(facts.labels, facts.logits, keys, shape):
        raise damaged(run, "predictions.npz", why)
    for label, arm in facts.arms.items():
        epochs = sum((row["arm"], row["seed"]) == (arm.arm, arm.seed) for row in facts.rows)
        if epochs != arm.epochs or not epochs:
            raise damaged(run, "history.jsonl", f"it holds {epochs} epochs of {label}, which trained {arm.epochs}")
