"""Where a run happens: command, versions, device, git."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from kdrecipes import backend
from kdrecipes.recipe import Recipe
from kdrecipes.structure import parse_requirement


def command() -> str:
    """The command that was typed, as one line."""
    if Path(sys.argv[0]).name in ("kdrecipes", "__main__.py"):
        return shlex.join(["kdrecipes", *sys.argv[1:]])
    return "kdrecipes.run(…)"


def versions(recipe: Recipe) -> dict[str, str]:
    """Versions of Python, of the packages that decide a result, and of the plugins the recipe uses."""
    names = ["kdrecipes", "keras", "torch", "numpy", *recipe.data["requires"]]
    found = {"python": platform.python_version()}
    for name in names:
        distribution = parse_requirement(name).name
        found[distribution] = metadata.version(distribution)
    return found


def environment(recipe: Recipe, device: str) -> dict[str, Any]:
    """Where the run happened: versions, device, threads, system, git."""
    import torch

    name = backend.device_name(device)
    described = (
        torch.cuda.get_device_name(name) if name.startswith("cuda") else platform.processor() or platform.machine()
    )
    return {
        "versions": versions(recipe),
        "device": name,
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
