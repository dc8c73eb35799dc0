"""A run, from recipe to report: the straight line."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.data.prepare import Data, prepare
from kdrecipes.disk.cache import note_served
from kdrecipes.disk.home import check_home
from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.saved_facts import is_whole
from kdrecipes.errors import KDRecipesError, RunError, UsageError, one_line
from kdrecipes.recipe.tables import Recipe, TeacherTable
from kdrecipes.report.build import report_again, write_report
from kdrecipes.report.facts import EnvironmentFacts, TeacherFacts, write_facts
from kdrecipes.report.table import data_changed
from kdrecipes.runs.arms import arms_of, evaluate_once, train_arm
from kdrecipes.runs.clock import Clock
from kdrecipes.runs.compile_choice import choose_compile
from kdrecipes.runs.dataset_facts import dataset_facts, dataset_notes
from kdrecipes.runs.decisions import Decision, decide, decide_all
from kdrecipes.runs.energy import Meter, machine
from kdrecipes.runs.folder import RunFolder, open_run, read_object
from kdrecipes.runs.measure import measure_once
from kdrecipes.runs.memory import memory_errors
from kdrecipes.runs.origin import changed_data, check_origin, refuse_changed_data
from kdrecipes.runs.pictures import write_pictures
from kdrecipes.runs.predictions import write_predictions
from kdrecipes.runs.preflight import check_teacher, too_few
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.provenance import command, environment, origin, replaying, reproducing, versions
from kdrecipes.runs.recalibration import choose_recalibration, recalibration_note
from kdrecipes.runs.rehearsal import plan_fits, refuse_precision
from kdrecipes.runs.report_keys import take_out
from kdrecipes.runs.saved import save_teacher
from kdrecipes.runs.teach import choose_outputs, teach, unheard
from kdrecipes.runs.teacher import Teacher, prepare_teacher
from kdrecipes.runs.trackers import Trackers, need_callbacks, tracked
from kdrecipes.training.finite import NotFinite
from kdrecipes.training.state import StateFolder


def run(
    recipe: Recipe, out: str | Path | None = None, *, device: str = "auto", overwrite: bool = False
) -> dict[str, Any]:
    """Train what a recipe describes and report what distillation bought.

    The same recipe in the same folder goes on after the last step that was saved; a finished run returns its report
    again. Where the recipe has more seeds and differs in nothing else, their students are trained too. A run in which
    nothing was trained gives place to another recipe's.

    Args:
        recipe: from `load_recipe`.
        out: the run folder. Default: `runs/<name>` under the working directory.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        overwrite: start afresh where the folder holds a run, of this recipe or another.

    Returns:
        The report, as in `report.json`; and under `"data_changed"` what of the data changed since a run that had been
        finished before, whose figures are of the former data.

    Raises:
        RunError: when data, teacher or training fail (exit code 1).
        UsageError: when the folder holds another recipe's run, in which something was trained (2).
        EnvironmentProblem: when data, disk or plugins are missing (3).
    """
    return run_since(None, recipe, out, device=device, overwrite=overwrite)


def run_since(
    began: float | None, recipe: Recipe, out: str | Path | None = None, *, device: str = "auto", overwrite: bool = False
) -> dict[str, Any]:
    """`run` by a command that began earlier, by `time.monotonic()`: what it has loaded since is part of its time."""
    if not isinstance(recipe, Recipe):
        raise UsageError(f"A run takes a recipe: kdrecipes.run(kdrecipes.load_recipe({recipe!r})).")
    clock, meter = Clock(began), machine()
    path = Path(out) if out is not None else Path("runs") / recipe.name
    need_callbacks(recipe)
    device = backend.device_name(device)
    backend.keep_freed_memory()
    check_home()
    with open_run(recipe, path, overwrite, refuse_changed_data) as folder:
        progress = Progress(path / "log.txt", clock)
        told = ", ".join(f"{name} {version}" for name, version in versions(recipe).items())
        progress.detail(f"{command()}: recipe {recipe.fingerprint[:12]}, on {device}, {told}")
        if folder.status.get("status") == "done" and (path / "report.json").is_file():
            return _shown_again(recipe, folder, progress)
        if folder.added:
            progress.note(f"{path}: the students there are kept; added: seed {', '.join(map(str, folder.added))}")
        if folder.replaced:
            progress.note(f"{path} held a run in which nothing was trained; it is replaced: {folder.replaced}")
        if folder.outdated:
            progress.note(f"{path}: an earlier version of kdrecipes began this run; its students are trained again")
        with keras.device(device), progress.shown(), meter.watched():
            try:
                with memory_errors(recipe), tracked(recipe, path, progress.note) as trackers:
                    return straight_line(recipe, folder, progress, device, meter, trackers)
            except KDRecipesError as error:
                if isinstance(error, NotFinite):
                    again = replaying(read_object(path / "lock.json").get("command"), path)
                    error.hint = (
                        f"`{again}` runs that step again, says where it goes wrong, and changes nothing of the run."
                    )
                theirs = error.__cause__ is not None and not isinstance(error.__cause__, OSError)
                told = traceback.format_exc() if theirs else str(error)  # a plugin's, for its author
                progress.record(told, logging.ERROR)
                raise
            except Exception as error:
                progress.record(traceback.format_exc(), logging.ERROR)
                raise RunError(f"The run stopped: {one_line(error)}. The traceback is in {progress.log}.") from error


def _shown_again(recipe: Recipe, folder: RunFolder, progress: Progress) -> dict[str, Any]:
    """The report of a finished run, and in it what of the data has changed since."""
    take_out(recipe, folder.path, progress.note)
    report = _read_report(folder.path, progress)
    seeds = list(dict.fromkeys(arm["seed"] for arm in report["arms"]))
    more = f" of seeds {', '.join(map(str, seeds))}" if set(seeds) > set(recipe.compare.seeds) else ""
    progress.note(f"{folder.path} holds the finished run{more}; this is its report again")
    if changes := changed_data(recipe, folder.path, progress.preparing):
        report["data_changed"] = changes
        progress.record(data_changed(report) or "", logging.WARNING)
    return report


def _read_report(run: Path, progress: Progress) -> dict[str, Any]:
    """What report.json of a finished run holds; where it is damaged the report is made anew from the run's facts."""
    file = run / "report.json"
    try:
        report = read_json(file)
        if isinstance(report, dict) and all("seed" in arm for arm in report["arms"]):
            return report
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    progress.note(f"Warning: {file} is damaged; the report is made anew")
    return report_again(run)


def straight_line(
    recipe: Recipe, folder: RunFolder, progress: Progress, device: str, meter: Meter, trackers: Trackers
) -> dict[str, Any]:
    """All of a run, in a folder that is open."""
    clock = progress.clock
    refuse_precision(recipe, device)
    data = ready_data(recipe, progress)
    warnings = check_origin(folder, origin(recipe, data.fingerprint, device), data.listing)
    for text in warnings:
        progress.note(f"Warning: {text}")
    write_facts(folder.path, "dataset", dataset_facts(recipe, data))
    if recipe.teachers and (untold := too_few(data)):
        warnings.append(f"teacher preflight: {untold}.")
        progress.note(f"Warning: {warnings[-1]}")
    for text in unheard(recipe):
        warnings.append(text)
        progress.note(f"Warning: {text}")
    arms = arms_of(recipe)
    with clock.part("rehearsal"):
        hearing = decide_outputs(recipe, data, folder)
        jit = decide_all(folder, "compile", lambda: choose_compile(recipe, data, device, len(arms)))
        cached = [name for name, decision in hearing.items() if decision.use == "cached"]
        anew = decide(folder, "recalibrate_batch_norm", lambda: choose_recalibration(recipe, data, folder.arms))
        progress.plan = plan_fits(recipe, data, arms, cached, jit)
    for about, decision in {**{f"outputs {name}": one for name, one in hearing.items()}, **jit}.items():
        progress.detail(f"decided of {about}: {decision.use}{f', {decision.why}' if decision.why else ''}")
    if text := recalibration_note(recipe, anew):
        progress.note(text)
    teachers = {
        name: ready_teacher(recipe, table, data, jit[recipe.label_of(table)], folder, progress)
        for name, table in recipe.teachers.items()
    }
    if not teachers:
        folder.keep_teachers({})
    for name, table in recipe.teachers.items():
        teach(recipe, table, data, teachers[name], hearing[name], device, folder, progress)
        keep_teacher(folder, table, teachers[name])
    for arm in arms:
        file = folder.student(arm.label) if arm.label in folder.arms else None
        if file and is_whole(file):
            clock.found("arm", arm.label)
        else:
            if file and file.exists():
                progress.note(f"Warning: {file} is damaged; {arm.label} is trained again")
            train_arm(recipe, arm, data, teachers, jit["student"], anew, folder, progress, trackers.callbacks)
    StateFolder(folder.path / "state").clear()  # a run may have been killed just after its last student was kept
    with clock.part("evaluation"):
        logits = evaluate_once(recipe, data, teachers, folder)
    with clock.part("writing"):
        write_predictions(folder.path, recipe, data, logits)
        write_pictures(folder.path, recipe, data, logits)
    if recipe.report.measure:
        with clock.part("measuring"):
            progress.note("measuring what each network costs: size, multiply-adds, latency, memory")
            measure_once(recipe, data, teachers, folder, device)
    typed = reproducing(read_object(folder.path / "lock.json").get("command"))
    facts = EnvironmentFacts(typed, warnings, environment(recipe, device), clock.told(), meter.told())
    report = _told(folder, facts, trackers)
    folder.set_status("done")
    progress.note(f"report: {folder.path / 'report.html'}")
    return report


def _told(folder: RunFolder, facts: EnvironmentFacts, trackers: Trackers) -> dict[str, Any]:
    """The report, written and given to the trackers; it tells which of them failed, at the very end too."""
    facts = replace(facts, warnings=[*facts.warnings, *trackers.warnings])
    write_facts(folder.path, "environment", facts)
    report = write_report(folder.path)
    if late := trackers.end(report):
        write_facts(folder.path, "environment", replace(facts, warnings=[*facts.warnings, *late]))
        report = write_report(folder.path)
    return report


def ready_data(recipe: Recipe, progress: Progress) -> Data:
    """The recipe's data, prepared; what is odd about them is told."""
    with progress.clock.part("data") as part:
        data = prepare(recipe, progress.preparing)
        part.by = "this" if progress.prepared else "earlier"
    note_stores(recipe, data)
    for text in dataset_notes(recipe, data):
        progress.note(text)
    return data


def decide_outputs(recipe: Recipe, data: Data, folder: RunFolder) -> dict[str, Decision]:
    """How the students get each teacher's logits, by its id. The lock holds that of the only one as such."""
    choices = {name: partial(choose_outputs, recipe, table, data) for name, table in recipe.teachers.items()}
    if len(choices) < 2:
        return {name: decide(folder, "teacher_outputs", make) for name, make in choices.items()}
    return decide_all(folder, "teacher_outputs", lambda: {name: make() for name, make in choices.items()})


def ready_teacher(
    recipe: Recipe, table: TeacherTable, data: Data, jit: Decision, folder: RunFolder, progress: Progress
) -> Teacher:
    """A teacher fine-tuned and checked, and written down."""
    label = recipe.label_of(table)
    watch = progress.watch(label, table.train.epochs if table.train else 0)
    with progress.clock.part("teacher", table.id) as part:
        begins = partial(folder.fine_tunes, table.id)
        teacher = prepare_teacher(recipe, table, data, watch, progress.note, jit=jit, begins=begins)
        folder.keep_rows("teacher", table.seed, teacher.rows, table.id if len(recipe.teachers) > 1 else None)
        check_teacher(recipe, table, teacher, data)
        save_teacher(recipe, table, data, teacher, folder.path, progress.note)
        part.by = "earlier" if teacher.reused else "both" if label in progress.continued else "this"
    for text in teacher.warnings:  # the report repeats it, hours later
        progress.note(f"Warning: {text}")
    keep_teacher(folder, table, teacher)
    return teacher


def note_stores(recipe: Recipe, data: Data) -> None:
    """Note in each store that it served this recipe."""
    for split in (data.train, data.validation, data.test, *data.unlabelled):
        if isinstance(split.store.images, np.memmap) and split.store.images.filename is not None:
            note_served(Path(split.store.images.filename).parent, recipe.name)


def keep_teacher(folder: RunFolder, table: TeacherTable, teacher: Teacher) -> None:
    """Write down what the report says of a teacher: once it is checked, and again once its outputs are there."""
    facts = TeacherFacts(
        component=table.name,
        params=teacher.model.count_params(),
        sha256=teacher.fingerprint,
        reused=teacher.reused,
        seconds={"fit": round(teacher.seconds, 3), "outputs": teacher.outputs_seconds},
        logits=table.id,
        warnings=teacher.warnings,
        asked=teacher.asked,
    )
    folder.keep_teachers({**folder.teachers, table.id: facts})
