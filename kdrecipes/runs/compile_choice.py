"""Whether a network's training steps go through `torch.compile`: decided once, by measuring, before the first arm."""

from __future__ import annotations

from kdrecipes.backend import seed_everything
from kdrecipes.data.prepare import Data
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import Recipe, StudentTable, TeacherTable
from kdrecipes.runs.build import build_distiller, build_model, build_terms, build_tuner
from kdrecipes.runs.decisions import EAGER, Decision
from kdrecipes.runs.rehearsal import black_batch, rehearse

LEAST_COMPILE_SECONDS = 30.0  # no network tried compiled in less: a fit that is done sooner need not try
COMPILED = Decision(True, "")


def choose_compile(recipe: Recipe, data: Data, device: str, arms: int) -> dict[str, Decision]:
    """Whether the teacher's and the students' steps go through `torch.compile`.

    Args:
        recipe, data: of the run.
        device: "cpu", "cuda", …
        arms: how many students there are; each compiles.

    Returns:
        Of "student", and of each teacher by its label, `Recipe.label_of`.
    """
    seed_everything(0)
    untrained = Decision(False, "the teacher is not trained")
    measured = {  # once for all copies of a table
        table.place: _choose(recipe, table, data, device, 1) if table.train else untrained
        for table in {table.place: table for table in recipe.teachers.values()}.values()
    }
    teachers = {recipe.label_of(table): measured[table.place] for table in recipe.teachers.values()}
    return {
        **(teachers or {"teacher": untrained}),
        "student": _choose(recipe, recipe.student, data, device, arms),
    }


def _choose(recipe: Recipe, table: TeacherTable | StudentTable, data: Data, device: str, fits: int) -> Decision:
    train = recipe.training_of(table)
    if train.compile != "auto":
        return Decision(train.compile, f"compile = {str(train.compile).lower()}")
    if device == "cpu":
        return Decision(False, "compiled steps are slower on a CPU, and compiling takes minutes")
    if isinstance(table, StudentTable) and (name := _reader(recipe, data)):
        return Decision(False, f"{name!r} reads layers of the student, and a compiled one does not show them")
    steps = train.epochs * (
        len(data.train) // train.batch_size
        if isinstance(table, TeacherTable)
        else data.mixture(recipe, taught=bool(recipe.teachers)).steps
    )
    plain = _seconds(recipe, table, data, EAGER)[1]
    if steps * plain < LEAST_COMPILE_SECONDS:
        return Decision(False, f"all steps of a fit take {steps * plain:.0f} s, less than compiling")
    try:
        first, compiled = _seconds(recipe, table, data, COMPILED)
    except RunError as error:
        return Decision(False, str(error))
    gain = steps * (plain - compiled) - first
    facts = f"{plain * 1e3:.1f} ms a step, {compiled * 1e3:.1f} ms compiled, {first:.0f} s to compile, {fits} times"
    return Decision(gain > 0, facts)


def _reader(recipe: Recipe, data: Data) -> str:
    """The first term that reads the student's layers, or puts another network in its place; "" where none does."""
    if not recipe.teachers:
        return ""
    terms = zip(recipe.loss.terms, build_terms(recipe, data)[0], strict=True)
    reading = (table.name for table, one in terms if getattr(one, "student_layers", ()) or hasattr(one, "meet"))
    return next(reading, "")


def _seconds(recipe: Recipe, table: TeacherTable | StudentTable, data: Data, jit: Decision) -> tuple[float, float]:
    """Of the first and of the second step of a fit on labels alone."""
    model, train = build_model(recipe, table, data), recipe.training_of(table)
    if isinstance(table, TeacherTable):
        distiller = build_tuner(recipe, table, model)
    else:
        distiller = build_distiller(recipe, data, model, {})
    return rehearse(distiller, train, black_batch(recipe, data, distiller, train, data.size(table)), jit)
