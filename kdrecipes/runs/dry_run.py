"""A recipe tried before its run: the models built, two steps of every kind of fit on black images, mostly no data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.data.labels import refuse_fewer_labels_than_classes, refuse_without_labels
from kdrecipes.data.prepare import SPLITS, Data, build_source, splits_of
from kdrecipes.data.splits import parse_split
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.recipe.tables import Recipe, StudentTable, TeacherTable, TrainTable
from kdrecipes.runs.arms import Arm, arms_of
from kdrecipes.runs.build import build_terms
from kdrecipes.runs.decisions import EAGER
from kdrecipes.runs.rehearsal import plan_fits, refuse_precision
from kdrecipes.runs.teach import choose_outputs
from kdrecipes.runs.trackers import need_callbacks

BATCH = 4  # images: whether layers, shapes and losses fit does not depend on how many, but for relational terms
EXAMPLES = 10_000  # that terms are told of where the data are not asked
WITHOUT_DATA = "With --classes N, and dataset.image_size, a dry run does without the data."


@dataclass(frozen=True)
class _Images:
    """A split of images that nobody looks at."""

    examples: int = EXAMPLES
    labelled: bool = True
    weighted: bool = False

    def __len__(self) -> int:
        return self.examples


def dry_run(recipe: Recipe, *, classes: int | None = None, device: str = "auto") -> int:
    """Build a recipe's models and take two steps of every fit on black images of the right size.

    Batches hold 4 images, or as many as the recipe says where a term compares the images of a batch. Data are asked,
    and their splits checked, only where the number of classes or the size is not known without them. Callbacks are
    not built: some announce a run to others.

    Args:
        recipe: from `load_recipe`.
        classes: how many the dataset has. Default: what the dataset says.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Returns:
        How many classes it was tried with.

    Raises:
        RunError, EnvironmentProblem: what would have stopped the run when it began.
    """
    need_callbacks(recipe)
    device = backend.device_name(device)
    refuse_precision(recipe, device)
    data = data_without_images(recipe, classes, WITHOUT_DATA)
    with keras.device(device):
        terms = build_terms(recipe, data)[0] if recipe.teachers else []
        relational = any(getattr(term, "relational", False) for term in terms)
        tried = recipe if relational else _with_small_batches(recipe)
        cached = [n for n, table in recipe.teachers.items() if choose_outputs(recipe, table, data).use == "cached"]
        kinds = dict.fromkeys(arm.arm for arm in arms_of(recipe))
        eager = dict.fromkeys(["student", *map(recipe.label_of, recipe.teachers.values())], EAGER)
        plan_fits(tried, data, [Arm(kind, 0) for kind in kinds], cached, eager)
    return len(data.classes)


def _with_small_batches(recipe: Recipe) -> Recipe:
    def small(train: TrainTable) -> TrainTable:
        return replace(train, batch_size=min(BATCH, train.batch_size))

    teachers = {
        name: table if table.train is None else replace(table, train=small(table.train))
        for name, table in recipe.teachers.items()
    }
    return replace(recipe, train=small(recipe.train), teachers=teachers)


def data_without_images(recipe: Recipe, classes: int | None = None, hint: str = "") -> Data:
    """Data of the right sizes without an image in them; the dataset is asked only for what is not known without it.

    Args:
        recipe: from `load_recipe`.
        classes: how many the dataset has. Default: what the dataset says.
        hint: what is added where the dataset has to be asked and can't be.
    """
    table = recipe.dataset
    # What a dataset's builder may know without its data; see docs/plugins.md.
    count = getattr(recipe.registry.components["dataset", table.name][0].build, "count_classes", None)
    known = classes or (count(**recipe.options(table)) if count else None)
    networks: list[StudentTable | TeacherTable] = [recipe.student, *recipe.teachers.values()]
    size = table.image_size or table.store_size or 0
    parts, names = {key: _Images() for key in SPLITS}, None
    if known is None or not all(network.image_size or size for network in networks):
        sources = _sources(recipe, hint)
        parts = {key: _Images(len(source), getattr(source, "labelled", True)) for key, source in sources.items()}
        refuse_without_labels(recipe, parts)
        names = list(sources["train"].classes)
        known = known or len(names)
        size = size or _side(sources["train"])
    if isinstance(labelled := table.labelled, int):
        refuse_fewer_labels_than_classes(recipe, known, labelled, len(parts["train"]))
    if names is None or len(names) != known:
        # What a teacher says that the classes are called is as good as any other names.
        given = {one.place: list(one.class_names) for one in recipe.teachers.values() if one.class_names}
        for place, own in given.items():
            if len(own) != known:
                raise RunError(f"{place}.class_names: names {len(own)} classes, and the dataset has {known}.")
        names = next(iter(given.values()), [str(label) for label in range(known)])
    train: Any = parts["train"]
    unlabelled: Any = (_Images(),) if recipe.has_unlabelled else ()
    teachers = {name: one.image_size or size for name, one in recipe.teachers.items()}
    return Data(train, train, train, names, recipe.student.image_size or size, teachers, "", 0, unlabelled)


def _side(source: Any) -> int:
    """Pixels per side of a source's images, as the first one says."""
    height, width = source[0]["image"].shape[:2]
    if height != width:
        raise RunError(f"dataset: the first image is {width}×{height}, not square. Set dataset.image_size.")
    return height


def _sources(recipe: Recipe, hint: str) -> dict[str, Any]:
    """The dataset's sources of the splits that the recipe names, by key."""
    try:
        return {key: build_source(recipe, parse_split(text)[0], key) for key, text in splits_of(recipe.dataset).items()}
    except KDRecipesError as error:
        error.hint = hint
        raise
