"""From a recipe's resolved form to its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.registry import Registry
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.positions import show_path
from kdrecipes.recipe.resolve import trained_alike
from kdrecipes.recipe.structure import teacher_tables
from kdrecipes.recipe.tables import (
    CompareTable,
    ComponentTable,
    DatasetTable,
    Json,
    LossTable,
    OptimizerTable,
    Recipe,
    ReportTable,
    ScheduleTable,
    StudentTable,
    SweepTable,
    TeacherTable,
    TermTable,
    TrainTable,
)
from kdrecipes.recipe.teacher_ids import teacher_ids
from kdrecipes.recipe.view_tables import BoxTable, ErasingTable, ViewsTable

T = TypeVar("T")


def make_recipe(
    data: Json,
    registry: Registry,
    *,
    text: str = "",
    source: str = "",
    folder: Path = Path(),
    overrides: tuple[str, ...] = (),
    fingerprint: str = "",
    origins: Mapping[KeyPath, str] | None = None,
) -> Recipe:
    """A recipe from its resolved form; the arguments are `Recipe`'s attributes."""

    def component(table: type[T], place: str, kind: str, found: Json, **more: Any) -> T:
        own = recipe_options(registry.components[kind, found["name"]][0])["properties"]
        return _filled(table, found, place=place, kind=kind, options={k: found[k] for k in own if k in found}, **more)

    def teachers() -> Iterator[TeacherTable]:
        tables, position = teacher_tables(dict(data)), 0
        for (path, found), ids in zip(tables, teacher_ids([table for _, table in tables]), strict=True):
            train = train_table(found["train"]) if "train" in found else None
            for copy, name in enumerate(ids):
                seed = (found["seed"] + copy if "seed" in found else data["seed"] + position) % 2**32
                yield component(TeacherTable, show_path(path), "model", found, id=name, seed=seed, train=train)
                position += 1

    loss = data["loss"]
    terms = [(f"loss.terms[{i}]", term) for i, term in enumerate(loss.get("terms", ()))]
    if "name" in loss:
        terms = [("loss", loss)]
    views = data["dataset"].get("views")
    return Recipe(
        data=data,
        text=text,
        source=source,
        folder=folder,
        overrides=overrides,
        fingerprint=fingerprint,
        registry=registry,
        name=data["name"],
        description=data.get("description", ""),
        seed=data["seed"],
        requires=tuple(data["requires"]),
        dataset=component(
            DatasetTable, "dataset", "dataset", data["dataset"], views=None if views is None else views_table(views)
        ),
        teachers={table.id: table for table in teachers()},
        student=component(StudentTable, "student", "model", data["student"]),
        loss=LossTable(
            loss["label_weight"],
            loss["label_smoothing"],
            loss["teachers"],
            tuple(
                component(TermTable, place, "loss", term, schedule=term_schedule(term.get("schedule")))
                for place, term in terms
            ),
        ),
        train=train_table(data["train"]),
        compare=_filled(CompareTable, data["compare"]),
        report=_filled(ReportTable, data["report"]),
        callbacks=tuple(
            component(ComponentTable, f"callbacks[{i}]", "callback", table)
            for i, table in enumerate(data.get("callbacks", ()))
        ),
        origins=origins or {},
        sweep=_filled(SweepTable, data["sweep"]) if "sweep" in data else None,
    )


def train_table(data: Json) -> TrainTable:
    """`[train]` or `[teacher.train]` from its resolved form."""
    optimizer = data["optimizer"]
    own = {one.name for one in fields(OptimizerTable)}
    rest = {key: value for key, value in optimizer.items() if key not in own}
    return _filled(
        TrainTable,
        data,
        optimizer=_filled(OptimizerTable, optimizer, options=rest),
        schedule=_filled(ScheduleTable, data["schedule"]),
        data=trained_alike(data),
    )


def term_schedule(data: Json | None) -> ScheduleTable | None:
    """`schedule` of a term from its resolved form; None where there is none."""
    return None if data is None else _filled(ScheduleTable, data)


def views_table(data: Json) -> ViewsTable:
    """`[dataset.views]` from its resolved form."""
    inner = {"random_resized_crop": BoxTable, "random_erasing": ErasingTable}
    return _filled(
        ViewsTable, data, data=data, **{key: _filled(table, data[key]) for key, table in inner.items() if key in data}
    )


def _filled(table: type[T], found: Json, /, **given: Any) -> T:
    """A dataclass with the keys of `found` that it has; lists become tuples. `given` counts before them."""
    names = [one.name for one in fields(table)]  # type: ignore[arg-type]
    values = {name: found[name] for name in names if name in found} | given
    return table(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
