"""A plain `pip install kdrecipes`, played in an environment that has everything: what it would not bring is hidden."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

# No finder finds a hidden module; what an environment says of its distributions stays.
_HIDE = """
import sys
class Finder:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Finder, sys.meta_path)
"""


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(package: Path = ROOT) -> dict[str, set[str]]:
    """The distributions that a pyproject.toml names, by extra; "" is the plain installation."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {"": project["dependencies"], **project.get("optional-dependencies", {})}
    return {extra: {normal(Requirement(text).name) for text in texts} for extra, texts in lists.items()}


def brought(distributions: set[str]) -> set[str]:
    """Some installed distributions with all that they require."""
    found: set[str] = set()
    open_ones = list(distributions)
    while open_ones:
        name = open_ones.pop()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                open_ones.append(normal(needed.name))
    return found


def hidden_modules() -> set[str]:
    """The top modules of this environment that a plain installation of kdrecipes and its plugins would not have."""
    light = brought(declared()[""])
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if not any(normal(one) in light or normal(one).startswith("kdrecipes") for one in distributions)
    }


def hiding(hidden: set[str]) -> str:
    """Python that hides modules; it stands before what is to be run."""
    return f"HIDDEN = {sorted(hidden)!r}\n{_HIDE}"


def python(code: str, *arguments: str, cwd: Path, hidden: set[str]) -> subprocess.CompletedProcess[str]:
    """Run Python of the working tree with the hidden modules away."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", hiding(hidden) + code, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def kdrecipes(*arguments: str, cwd: Path, hidden: set[str]) -> subprocess.CompletedProcess[str]:
    """`kdrecipes ARGUMENTS` with the hidden modules away."""
    return python("from kdrecipes.cli.main import main; main()", *arguments, cwd=cwd, hidden=hidden)
