"""`Recipe`: a valid recipe, frozen, each table a dataclass. The schema alone knows defaults: a key is None where it is
absent and has none."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kdrecipes.components.plugins import Provider
from kdrecipes.components.registry import Registry
from kdrecipes.recipe.path_options import is_path
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.view_tables import ViewsTable

Json = Mapping[str, Any]


# eq=False, here and below: a table holds dicts, so it has no hash; compare `Recipe.fingerprint` instead.
@dataclass(frozen=True, eq=False)
class ComponentTable:
    """A table that names a component.

    Attributes:
        place: where it stands, as a person writes it: "teacher", "loss.terms[0]".
        kind: the component's.
        name: the component's.
        options: its options as the recipe has them, defaults filled in; see `Recipe.options`.
    """

    place: str
    kind: str
    name: str
    options: Json


@dataclass(frozen=True, eq=False)
class DatasetTable(ComponentTable):
    """`[dataset]`.

    `validation` is a split or the share held out of train, class by class where that is `stratified`; `labelled` is a
    count (int) or a share of train (float).
    """

    train: str
    validation: str | float
    test: str
    resize: Literal["squash", "crop"]
    corrupt_limit: float
    background: str
    max_pixels: int
    stratified: bool
    labelled: int | float | None = None
    unlabelled: str | None = None
    labelled_share: float | None = None
    image_size: int | None = None
    store_size: int | None = None
    views: ViewsTable | None = None


@dataclass(frozen=True, eq=False)
class OptimizerTable:
    """An optimiser of the closed list; `options` are the arguments that Keras takes beside these."""

    name: str
    learning_rate: float
    options: Json
    weight_decay: float | None = None
    weight_decay_on: Literal["all", "kernels"] | None = None


@dataclass(frozen=True, eq=False)
class ScheduleTable:
    """A schedule of a closed list, of the learning rate or of a term's weight.

    `warmup` and `length` are shares of all steps; `start` and `end` are factors of the peak, or of the term's weight.
    """

    name: str
    warmup: float | None = None
    length: float | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, eq=False)
class TrainTable:
    """`[train]`, or `[teacher.train]` with what it takes over from it; `data` is its JSON form, for fingerprints."""

    epochs: int
    batch_size: int
    optimizer: OptimizerTable
    schedule: ScheduleTable
    precision: str
    fast: bool
    compile: bool | Literal["auto"]
    data: Json
    clip_norm: float | None = None
    accumulate: int | None = None
    head_learning_rate_factor: float | None = None
    ema: float | None = None
    recalibrate_batch_norm: int | None = None
    class_weight: Literal["balanced"] | None = None
    save_every_seconds: float = 60.0


@dataclass(frozen=True, eq=False)
class TeacherTable(ComponentTable):
    """One teacher: `[teacher]`, or one of `[[teacher]]` or of a table's copies.

    Attributes:
        id: names it; no two teachers of a recipe have the same.
        weight: above 0; how much it counts among several, in proportion to their weights.
        seed: of its new weights and its fine-tuning, 0 to 2³² − 1.
        save: whether it goes into the run folder where it is fine-tuned.
        class_names: the dataset's classes in the order of its outputs; None where that is the dataset's order.
        train: None where its weights are used as they are.
    """

    id: str
    weight: float
    seed: int
    precision: str
    cache: Literal["auto", "off"]
    cache_limit_gb: float
    preflight: Literal["stop", "warn"]
    save: bool
    image_size: int | None = None
    class_names: tuple[str, ...] | None = None
    train: TrainTable | None = None


@dataclass(frozen=True, eq=False)
class StudentTable(ComponentTable):
    """`[student]`."""

    image_size: int | None = None


@dataclass(frozen=True, eq=False)
class TermTable(ComponentTable):
    """One distillation term: `[loss]` itself where it names one, or an entry of `[[loss.terms]]`.

    `schedule` None: the weight is constant. `teacher` is the id of the one that it hears; None: all of them together.
    """

    weight: float
    schedule: ScheduleTable | None = None
    teacher: str | None = None
    student_layers: tuple[str, ...] | None = None
    teacher_layers: tuple[str, ...] | None = None
    projector: Literal["linear", "conv"] | None = None


@dataclass(frozen=True, eq=False)
class LossTable:
    """`[loss]`: the weight and smoothing of labels, how several teachers are heard together, and the terms."""

    label_weight: float
    label_smoothing: float
    teachers: Literal["probabilities", "logits"]
    terms: tuple[TermTable, ...] = ()


@dataclass(frozen=True, eq=False)
class CompareTable:
    """`[compare]`; `margin` is a share of accuracy below which a difference is practically none."""

    baseline: bool
    seeds: tuple[int, ...]
    margin: float


@dataclass(frozen=True, eq=False)
class ReportTable:
    """`[report]`: what the report holds beside the results; no result depends on it."""

    measure: bool
    images: bool


@dataclass(frozen=True, eq=False)
class SweepTable:
    """`[sweep]`: the values of each dotted key, or points that are written out; and seeds. A run does not read it."""

    grid: Mapping[str, Sequence[Any]] | None = None
    points: tuple[Json, ...] | None = None
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Recipe:
    """A valid recipe.

    Attributes:
        data: the resolved form as JSON, every default filled in: for lock, fingerprint and report. Changing it changes
            nothing that a run does: that reads the tables below.
        text: the file, verbatim.
        source: where it was read from, as given.
        folder: paths in the recipe are relative to it.
        overrides: the `--set` texts, in order.
        fingerprint: sha256 (hex) of the resolved form without `name`, `description`, callbacks, report and sweep.
        registry: the components it was validated against.
        name: which is also its run folder's.
        description: empty where there is none.
        seed: of the views, and of the first teacher's fine-tuning; the next ones count up from it.
        requires: plugin distributions.
        dataset, student, loss, train, compare, report, callbacks: its tables.
        teachers: by id, in order; empty where only the labels-only student is trained.
        origins: where each key that is written came from, `base.toml:7` or `--set train.epochs=1`; what is not in it
            is a default.
        sweep: what `kdrecipes sweep` makes of it; None where there is no such table.
    """

    data: Json
    text: str
    source: str
    folder: Path
    overrides: tuple[str, ...]
    fingerprint: str
    registry: Registry = field(repr=False)
    name: str
    description: str
    seed: int
    requires: tuple[str, ...]
    dataset: DatasetTable
    teachers: Mapping[str, TeacherTable]
    student: StudentTable
    loss: LossTable
    train: TrainTable
    compare: CompareTable
    report: ReportTable
    callbacks: tuple[ComponentTable, ...]
    origins: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)
    sweep: SweepTable | None = None

    def options(self, table: ComponentTable, **passed: Any) -> dict[str, Any]:
        """The keyword arguments for the component that `table` names.

        Options of `"format": "path"` become absolute; of `passed` those are added that the component declares.
        """
        declared = self.registry.components[table.kind, table.name][0].options.get("properties", {})
        options = dict(table.options)
        for key, value in options.items():
            if isinstance(value, str) and is_path(declared[key], value):
                options[key] = str(self.folder / os.path.expanduser(value))  # an unknown ~user stays as it is
        return options | {key: value for key, value in passed.items() if key in declared}

    def provider(self, table: ComponentTable) -> Provider:
        """Who provides the component that `table` names."""
        return self.registry.provider(table.kind, table.name)

    def components(self) -> Iterator[ComponentTable]:
        """Every table that names a component."""
        yield self.dataset
        yield from self.teachers.values()
        yield self.student
        yield from self.loss.terms
        yield from self.callbacks

    @property
    def has_unlabelled(self) -> bool:
        """Whether the recipe asks for images without labels beside images with them."""
        return self.dataset.labelled is not None or self.dataset.unlabelled is not None

    def label_of(self, teacher: TeacherTable) -> str:
        """What messages, plans and the lock call a teacher: `"teacher"`, or of several `"teacher lite2"`."""
        return "teacher" if len(self.teachers) == 1 else f"teacher {teacher.id}"

    def training_of(self, network: TeacherTable | StudentTable) -> TrainTable:
        """How a network is trained; for a teacher that is not, `[train]` says the rest, such as whether it is fast."""
        return (isinstance(network, TeacherTable) and network.train) or self.train
