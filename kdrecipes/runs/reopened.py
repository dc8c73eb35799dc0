"""A run that is there, opened for more: its recipe as its lock holds it, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdrecipes.components.registry import load_registry, unknown_component
from kdrecipes.data.prepare import Data, Progress, prepare
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import EnvironmentProblem, UsageError, one_line
from kdrecipes.recipe.make import make_recipe
from kdrecipes.recipe.resolve import resolve
from kdrecipes.recipe.structure import component_tables
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.run_list import check_run_folder


def recipe_of(run: Path, plugins: Sequence[Path] = ()) -> Recipe:
    """The recipe of a run, as its lock.json holds it.

    Args:
        run: the run folder.
        plugins: single-file plugins to load.

    Raises:
        UsageError: when the folder is no run, or its lock is damaged.
        EnvironmentProblem: when a component of the recipe is not installed.
    """
    check_run_folder(run)
    lock_file = run / "lock.json"
    registry = load_registry(tuple(plugins))
    try:
        lock = read_json(lock_file)
        data = lock["recipe"]
        tables = list(component_tables(data))
        missing = [(kind, t["name"]) for _, _, kind, t in tables if registry.get(kind, t["name"]) is None]
        if missing:
            raise EnvironmentProblem(unknown_component(registry, *missing[0]))
        return make_recipe(
            resolve(data, registry),  # the lock of an earlier version lacks the keys that are newer
            registry,
            source=str(lock_file),
            folder=Path(lock.get("folder", run)),
            fingerprint=str(lock["recipe_sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{lock_file} can't be read ({one_line(error)}).") from error


def data_of(run: Path, recipe: Recipe, progress: Progress) -> Data:
    """The data that a run stands on, prepared.

    Raises:
        UsageError: when they have changed since.
    """
    data = prepare(recipe, progress)
    began = read_json(run / "lock.json").get("origin", {}).get("dataset_sha256")
    if began not in (None, data.fingerprint):
        raise UsageError(f"The data changed since the run in {run} began: its students can't be measured on them.")
    return data
