"""Where a run happens: command, versions, device, git."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdrecipes.distributions import UNKNOWN, installed_version
from kdrecipes.hashing import path_sha256
from kdrecipes.recipe.structure import parse_requirement
from kdrecipes.recipe.tables import Recipe
from kdrecipes.secret_values import without_secrets

_began: list[str] = []


@contextmanager
def going_on(began: str) -> Iterator[None]:
    """In the block `command` tells the one that began what goes on: it makes it from its recipe."""
    _began.append(began)
    try:
        yield
    finally:
        _began.pop()


def command() -> str:
    """The command that was typed, as one line, without secrets."""
    if _began:
        return _began[-1]
    script = Path(sys.argv[0])
    if script.name == "kdrecipes" or script == Path(__file__).parents[1] / "__main__.py":
        return without_secrets(shlex.join(["kdrecipes", *sys.argv[1:]]))
    return "kdrecipes.run(…)"


def reproducing(began: Any) -> str:
    """The command that makes a run from its recipe: the typed one, or of `kdrecipes resume` the one that began it.

    Args:
        began: the command in the run's lock.
    """
    typed = command()
    return str(began) if began and typed.startswith("kdrecipes resume ") else typed


def replaying(began: Any, run: Path) -> str:
    """The command that runs again the step at which a run was stopped.

    Args:
        began: the command in the run's lock.
        run: the run folder.
    """
    typed = reproducing(began)
    if not typed.startswith("kdrecipes run "):
        return f"kdrecipes run RECIPE {shlex.join(['--out', str(run)])} --replay-step"
    words = [word for word in shlex.split(typed) if word not in ("--overwrite", "--replay-step")]
    return shlex.join([*words, "--replay-step"])


def versions(recipe: Recipe) -> dict[str, str]:
    """Versions of Python, of the packages that decide a result, and of the plugins the recipe uses."""
    names = ["kdrecipes", "keras", "torch", "numpy", *recipe.requires]
    found = {"python": platform.python_version()}
    for name in names:
        distribution = parse_requirement(name).name
        found[distribution] = installed_version(distribution) or UNKNOWN
    return found


def origin(recipe: Recipe, dataset: str, device: str) -> dict[str, Any]:
    """What a run stands on besides its recipe; it must not change while the run is interrupted.

    Args:
        recipe: the recipe.
        dataset: the data's fingerprint.
        device: the device's name.

    Returns:
        `dataset_sha256`; `files`, sha256 of every file, and of every model's folder, that an option names, and of
        single-file plugins; `device`; `threads`; `components`, who provides each, with its version; `versions`, of what
        decides a result.
    """
    import torch

    files: dict[str, str] = {}
    components: dict[str, str] = {}
    for table in recipe.components():
        provider = recipe.provider(table)
        components[f"{table.kind} {table.name}"] = str(provider)
        if Path(provider.distribution).is_file():
            files[provider.distribution] = provider.version
        for value in recipe.options(table).values():
            # A dataset's folder is told apart by the fingerprint of what is stored of it.
            if isinstance(value, str) and (Path(value).is_file() or (table.kind == "model" and Path(value).is_dir())):
                files[value] = path_sha256(Path(value))
    return {
        "dataset_sha256": dataset,
        "files": files,
        "device": device,
        "threads": torch.get_num_threads(),
        "components": components,
        "versions": versions(recipe),
    }


def environment(recipe: Recipe, device: str) -> dict[str, Any]:
    """Where the run happened: versions, device, threads, system, git."""
    import torch

    described = (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    )
    return {
        "versions": versions(recipe),
        "device": device,
        "device_name": described,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "git": _git(),
    }


def _git() -> dict[str, Any] | None:
    """The working directory's commit, and whether files differ from it; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(changed.stdout.strip())}
