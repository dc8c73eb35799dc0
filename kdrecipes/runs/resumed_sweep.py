"""A sweep that goes on by its folder alone: as it was given, and what was asked of it, from sweep_lock.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kdrecipes.components.registry import load_registry
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import RecipeError, UsageError, one_line
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.recipe.sweep_kept import kept, sweep_of
from kdrecipes.report.sweep_results import FILE
from kdrecipes.report.typed_json import typed
from kdrecipes.runs.other_sweep import LOCK
from kdrecipes.runs.provenance import command
from kdrecipes.runs.resumed import given, need_plugins


@dataclass(frozen=True)
class Asked:
    """What a command asks of a sweep beside what the sweep is.

    Attributes:
        command: as it was typed.
        device: where it trains.
        best: how many points it confirms.
        trials: of a search, how many points it draws; 0 for any other sweep.
    """

    command: str
    device: str
    best: int
    trials: int


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's."""
    return any((folder / name).is_file() for name in (LOCK, FILE))


def as_given(sweep: Sweep, best: int, device: str, before: Any = None) -> dict[str, Any]:
    """What sweep_lock.json keeps, so that `resumed_sweep` gives it back.

    Args:
        sweep, best, device: as for `run_sweep`.
        before: what was asked by another process that works on it too, or by none; the larger of each number is kept,
            as in sweep.json.
    """
    asked = Asked(command(), device, best, sweep.trials)
    try:
        other = typed(Asked, before)
        first = asked if best >= other.best and sweep.trials >= other.trials else other
        asked = replace(first, best=max(best, other.best), trials=max(sweep.trials, other.trials))
    except ValueError:  # by none, or its file was changed
        pass
    return {
        "given": {**kept(sweep), "plugins": given(sweep.recipe)["plugins"]},
        "asked": asdict(asked),
    }


def resumed_sweep(folder: Path, plugins: Sequence[Path] = ()) -> tuple[Sweep, Asked]:
    """A sweep as the last command that worked on it was given it, and what that command asked.

    The recipe's own file is not read, nor one of points. What the lock holds is validated as a command's is: the folder
    may be a stranger's.

    Args:
        folder: the sweep's, see `is_sweep`.
        plugins: single-file plugins to load; those that the sweep began with must be among them.

    Raises:
        UsageError: when its lock is damaged or another version's, or a plugin is not named.
        EnvironmentProblem: when a plugin that the recipe requires is missing or broken.
    """
    file = folder / LOCK
    try:
        lock = read_json(file)
        if "given" not in lock:
            raise UsageError(
                f"{file} is of an earlier version, which did not keep how its sweep was given. The command that began "
                f"the sweep goes on with it: `{_shown(lock.get('command'))}`."
            )
        need_plugins("sweep", folder, lock["given"]["plugins"], plugins)
        asked = typed(Asked, lock["asked"])
        if asked.best < 0 or asked.trials < 0:
            raise ValueError("it asks for less than nothing")
        registry = load_registry(tuple(plugin.resolve() for plugin in plugins))
        sweep = sweep_of(lock["given"], registry, asked.trials)
        began = lock["sweep_sha256"]
    except RecipeError as error:
        problems = "; ".join(map(str, error.problems[:3]))
        raise UsageError(f"{file} holds a sweep that is not valid here: {problems}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file} can't be read ({one_line(error)[:300]}). `kdrecipes sweep RECIPE … --out {folder} --overwrite` "
            "makes the sweep anew."
        ) from error
    if sweep.digest != began:
        raise UsageError(
            f"{file} was changed, or another version of kdrecipes wrote it: its sweep does not match its "
            f"checksum. `kdrecipes sweep RECIPE … --out {folder}` with the recipe's file says how they differ."
        )
    return sweep, asked


def _shown(text: Any) -> str:
    """A command that a lock holds; how a sweep is begun where it holds none."""
    return " ".join(text.split()) if isinstance(text, str) else "kdrecipes sweep RECIPE …"
