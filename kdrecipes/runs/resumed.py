"""A run that goes on by its folder alone: the recipe as it was given, from what lock.json holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdrecipes.components.registry import load_registry
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import UsageError, one_line
from kdrecipes.recipe.load import Draft, recipe_of
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.run_list import check_run_folder


def given(recipe: Recipe) -> dict[str, Any]:
    """What lock.json keeps of how a recipe was given, beside what it resolves to, so that `resumed` gives it back."""
    files = [plugin.provider for plugin in recipe.registry.plugins]
    return {
        "source": recipe.source,
        "text": recipe.text,
        "origins": [[list(path), origin] for path, origin in recipe.origins.items()],
        "plugins": [provider.distribution for provider in files if provider.version.startswith("sha256:")],
    }


def resumed(run: Path, plugins: Sequence[Path] = ()) -> tuple[Recipe, str]:
    """The recipe of a run as the command that began it was given it, and the device that it began on.

    The recipe's own file is not read. What the lock holds is validated as a recipe is: the folder may be a stranger's.

    Args:
        run: the run folder.
        plugins: single-file plugins to load; those that the run began with must be among them.

    Returns:
        The recipe; and the device, "auto" where the run did not come so far.

    Raises:
        UsageError: when the folder is no run, its lock is damaged or another version's, or a plugin is not named.
        EnvironmentProblem: when a plugin that the recipe requires is missing or broken.
    """
    check_run_folder(run)
    file = run / "lock.json"
    try:
        lock = read_json(file)
        told = lock.get("given", {})  # the locks of earlier versions have none
        copy = next((one for one in (run / "recipe.toml", run / "recipe.json") if one.is_file()), file)
        need_plugins("run", run, told.get("plugins", []), plugins)
        draft = Draft(
            source=str(told.get("source", copy)),
            file=str(file),
            folder=Path(lock["folder"]),
            text=str(told.get("text") or copy.read_text(encoding="utf-8")),
            data=dict(lock["recipe"]),
            places={},
            overrides=tuple(map(str, lock["overrides"])),
            overridden={},
            registry=load_registry(tuple(plugin.resolve() for plugin in plugins)),
        )
        origins = {tuple(path): str(origin) for path, origin in told.get("origins", [])}
        began, device = lock["recipe_sha256"], str(lock.get("origin", {}).get("device", "auto"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file} can't be read ({one_line(error)}). `kdrecipes run RECIPE --out {run} --overwrite` makes the run "
            "anew."
        ) from error
    recipe = recipe_of(draft, origins)
    if recipe.fingerprint != began:
        raise UsageError(
            f"{file} was changed, or another version of kdrecipes wrote it: its recipe is not the one of its "
            f"recipe_sha256. `kdrecipes run RECIPE --out {run}` with the recipe's file says how they differ."
        )
    return recipe, device


def resuming(folder: Path, plugins: Sequence[str | Path]) -> str:
    """The command that goes on with a run or a sweep by its folder.

    Args:
        folder: the run's or sweep's.
        plugins: files of the single-file plugins that it needs.
    """
    named = f"./{folder}" if str(folder).startswith("-") else str(folder)
    return shlex.join(["kdrecipes", "resume", named, *(word for file in plugins for word in ("--plugin", str(file)))])


def need_plugins(kind: str, folder: Path, began_with: Sequence[str], plugins: Sequence[Path]) -> None:
    """Ask for the single-file plugins that a run or a sweep began with: they are code, which no folder loads by itself.

    Args:
        kind: "run" or "sweep".
        folder: its folder.
        began_with: what it began with, as its lock says.
        plugins: those that are named now.

    Raises:
        UsageError: when one is not named.
    """
    named = {str(plugin.resolve()) for plugin in plugins}
    if missing := [plugin for plugin in began_with if plugin not in named]:
        raise UsageError(
            f"The {kind} in {folder} began with the plugin {' and '.join(missing)}. A {kind} folder loads no code by "
            f"itself; name it: `{resuming(folder, began_with)}`."
        )
