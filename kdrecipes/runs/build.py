"""From the recipe's tables to built components: models checked against the pixel contract, terms, callbacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from kdrecipes.backend import fresh_names, keras
from kdrecipes.data.prepare import Data
from kdrecipes.errors import KDRecipesError, RunError, one_line
from kdrecipes.fast import accelerate
from kdrecipes.recipe.tables import ComponentTable, Recipe, StudentTable, TeacherTable, TermTable
from kdrecipes.runs.class_order import given_order, reordered
from kdrecipes.runs.pixel_contract import check_network
from kdrecipes.term_places import place_in
from kdrecipes.torch_modules import as_keras, module_of
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.inference import Inference
from kdrecipes.training.introduced import StudentReplaced
from kdrecipes.training.loss_parts import Weight
from kdrecipes.training.projector import Projected
from kdrecipes.training.teachers import named_by
from kdrecipes.training.term_schedule import weight_over


def build_component(recipe: Recipe, table: ComponentTable, **passed: Any) -> Any:
    """Call a component's builder; whatever a stranger's code raises names the place in the recipe and the provider."""
    component, provider = recipe.registry.components[table.kind, table.name]
    where = table.place
    try:
        return component.build(**recipe.options(table, **passed))
    except KDRecipesError as error:
        error.at(where)
        raise
    except (Exception, SystemExit) as error:
        raise RunError(f"{where}: {table.name!r} ({provider}) could not be built: {one_line(error)}") from error


def build_model(recipe: Recipe, table: TeacherTable | StudentTable, data: Data) -> keras.Model:
    """Build the model of `[teacher]` or `[student]`.

    Raises:
        RunError: when it can't be built, does not go from pixels to logits (batch, classes), or a teacher's class names
            are not the dataset's.
    """
    role, size = table.place, data.size(table)
    fresh_names()
    model = build_component(recipe, table, classes=len(data.classes), image_size=size)
    if isinstance(model, torch.nn.Module) and not isinstance(model, keras.layers.Layer):
        try:
            model = as_keras(model, len(data.classes), size)
        except Exception as error:  # a stranger's module may raise anything
            why = str(error) if isinstance(error, ValueError) else one_line(error)
            raise RunError(f"{role}: {table.name!r} built a torch module that fails: {why}") from error
    if not isinstance(model, keras.Model):
        raise RunError(
            f"{role}: {table.name!r} built a {type(model).__name__}; a model component builds a keras.Model or a "
            "torch.nn.Module."
        )
    check_network(recipe, table, model, len(data.classes), size)
    order = given_order(table, data.classes) if isinstance(table, TeacherTable) else None
    model = model if order is None else reordered(model, order, size)
    return accelerate(model) if recipe.training_of(table).fast else model


def inference(recipe: Recipe, table: TeacherTable, teacher: keras.Model, *, whole: bool = False) -> Inference:
    """A teacher as the recipe asks it, with the weights that it has now; `whole`: its layers will be read."""
    return Inference(teacher, precision=table.precision, freeze=recipe.training_of(table).fast and not whole)


def mixes(recipe: Recipe) -> bool:
    """Whether the views mix examples, and with them labels."""
    return recipe.dataset.views is not None and bool(recipe.dataset.views.mixup)


def build_terms(recipe: Recipe, data: Data) -> tuple[list[Any], list[Weight]]:
    """The distillation terms of `[loss]` and their weights, those with a schedule by the share of the fit."""
    terms = [_build_term(recipe, data, table) for table in recipe.loss.terms]
    return terms, [weight_over(table.weight, table.schedule) for table in recipe.loss.terms]


def _build_term(recipe: Recipe, data: Data, table: TermTable) -> Any:
    """One term, told its teacher and layers where the recipe gives them, behind a projector where it wants one."""
    term = build_component(recipe, table, classes=len(data.classes), examples=data.images)
    for key in ("teacher", "student_layers", "teacher_layers"):
        if getattr(table, key) is not None:
            setattr(term, key, getattr(table, key))
    mine, theirs = (getattr(term, key, ()) for key in ("student_layers", "teacher_layers"))
    if table.projector is not None:
        if hasattr(term, "parts") or hasattr(term, "meet"):
            raise RunError(f"{table.place}.projector: {table.name!r} maps features by layers of its own; leave it out.")
        if len(mine) != len(theirs) or not mine:
            raise RunError(
                f"{table.place}.projector: pairs layers, and there are {len(mine)} of the student and {len(theirs)} "
                "of the teacher."
            )
        term = Projected(term, table.projector)
    if mixes(recipe) and not getattr(term, "mixed_labels", True):
        raise RunError(
            f"{table.place}: {table.name!r} can't take the labels of mixed examples. Take dataset.views.mixup out, or "
            "choose another loss."
        )
    return term


def layers_read(terms: list[Any]) -> set[str | None]:
    """The ids of the teachers whose layers terms may read; None: of the only one there is."""
    return {named_by(term) for term in terms if getattr(term, "teacher_layers", ()) or hasattr(term, "meet")}


def build_distiller(recipe: Recipe, data: Data, student: keras.Model, teachers: Mapping[str, keras.Model]) -> Distiller:
    """The distiller of one arm: of the distilled one where there are teachers, else on labels only.

    A term may put a model of its own in the student's place: what is trained and saved is `distiller.student`, and
    `distiller.replaced` says what it is.

    Args:
        recipe, data: of the run.
        student: the model that is trained.
        teachers: the models that teach it, by id; none for the baseline.

    Raises:
        RunError: when terms and networks do not fit together.
    """
    terms, weights = build_terms(recipe, data) if teachers else ([], [])
    tables = {name: recipe.teachers[name] for name in teachers}
    read = layers_read(terms)
    whole = {name: name in read or None in read for name in teachers}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StudentReplaced)  # a run goes on with what is trained
            made = Distiller(
                student=student,
                teacher={n: inference(recipe, tables[n], model, whole=whole[n]) for n, model in teachers.items()},
                teacher_weights={name: table.weight for name, table in tables.items()},
                teachers=recipe.loss.teachers,
                loss=terms,
                weight=weights,
                label_weight=recipe.loss.label_weight if terms else 1.0,
                label_smoothing=recipe.loss.label_smoothing,
                precision=recipe.train.precision,
                accelerate=False,  # `build_model` did, where the recipe wants it
            )
        if made.replaced and module_of(made.student) is not None:
            raise ValueError("a torch module was put in the student's place, whose file can't be opened again.")
        if made.student is not student and recipe.train.fast:
            accelerate(made.student)
        return made
    except ValueError as error:
        where = place_in(error, [term.place for term in recipe.loss.terms], "loss" if terms else "student")
        raise RunError(f"{where}: {error}") from error


def build_tuner(recipe: Recipe, table: TeacherTable, model: keras.Model) -> Distiller:
    """What fine-tunes a teacher: on labels, as a student would be, and with nothing from `[loss]`."""
    return Distiller(student=model, precision=recipe.training_of(table).precision, accelerate=False)


def build_callbacks(recipe: Recipe, **passed: Any) -> list[Any]:
    """The recipe's `[[callbacks]]` but the trackers, built afresh for one arm."""
    mine = [table for table in recipe.callbacks if not is_tracker(recipe, table)]
    return [build_component(recipe, table, **passed) for table in mine]


def is_tracker(recipe: Recipe, table: ComponentTable) -> bool:
    """Whether the callback that `table` names says of itself that it is one for the whole run, and only looks on."""
    return bool(getattr(builder(recipe, table), "tracker", False))


def builder(recipe: Recipe, table: ComponentTable) -> Callable[..., Any]:
    """The builder of the component that `table` names."""
    return recipe.registry.components[table.kind, table.name][0].build
