"""What is installed, against what kdrecipes was tested with: Python, packages, plugins."""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from kdrecipes.components.registry import load_registry
from kdrecipes.distributions import installed_version
from kdrecipes.extras import EVERY_RUN, EXTRAS
from kdrecipes.runs.doctor_check import Check, finding, ok

_TOLD = ("kdrecipes", "keras", "torch", "numpy")  # whose versions are shown where nothing is wrong
_CLASSIFIER = re.compile(r"Programming Language :: Python :: (\d+\.\d+)")


def python() -> Check:
    """Whether this Python is one of those that the package names."""
    here, version = platform.python_version(), ".".join(platform.python_version_tuple()[:2])
    named = metadata.metadata("kdrecipes").get_all("Classifier") or []
    tested = [match[1] for text in named if (match := _CLASSIFIER.fullmatch(text))]
    if version in tested:
        return ok("python", here)
    return finding("python", f"{here}; tested are {', '.join(tested)}", f"Use Python {tested[-1]}.")


def missing() -> list[str]:
    """The modules that every run imports and that are not installed."""
    return [module for module in EVERY_RUN if importlib.util.find_spec(module) is None]


def packages() -> list[Check]:
    """Every requirement of the plain package and of the extra `run`; of the other extras those that are installed."""
    found, seen, absent = [], 0, {EVERY_RUN[module] for module in missing()}
    for requirement, needed in _requirements():
        version = installed_version(requirement.name)
        if version is None:
            absent |= {requirement.name} if needed else set()
            continue
        seen += 1
        if not version:
            mend = f"Install it again: `pip install --force-reinstall '{requirement.name}{requirement.specifier}'`."
            found.append(finding("packages", f"{requirement.name} is broken: it states no version", mend))
        elif not requirement.specifier.contains(version, prereleases=True):
            bare = f"{requirement.name}{requirement.specifier}"
            text = f"{requirement.name} {version} is outside of what was tested: {requirement.specifier}"
            found.append(finding("packages", text, f"Install another: `pip install '{bare}'`."))
    if absent:
        text = f"what runs need is not installed: {', '.join(sorted(absent))}"
        found.append(finding("packages", text, "Install it: `pip install 'kdrecipes[run]'`."))
    told = ", ".join(f"{name} {installed_version(name) or '(not installed)'}" for name in _TOLD)
    return found or [ok("packages", f"{told}; {seen} packages are in their tested ranges")]


def _requirements() -> Iterator[tuple[Requirement, bool]]:
    """Each requirement of `pyproject.toml` that is for users, once; and whether a run does not do without."""
    told = set()
    for extra in ("", *EXTRAS):
        for text in metadata.requires("kdrecipes") or ():
            requirement = Requirement(text)
            meant = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if meant and requirement.name != "kdrecipes" and requirement.name not in told:
                told.add(requirement.name)
                yield requirement, extra in ("", "run")


def plugins() -> list[Check]:
    """The plugins that could not be loaded, and the names that two of them provide."""
    registry = load_registry()
    found = [
        finding(
            "plugins",
            f"{one.provider.plugin} ({one.provider}) {one.why_not_loaded}",
            f"Upgrade or remove it: `pip install --upgrade {one.provider.distribution}`, `pip uninstall "
            f"{one.provider.distribution}`.",
        )
        for one in registry.plugins
        if one.state == "broken"
    ]
    for (kind, name), owners in registry.conflicts.items():
        text = f"two plugins provide the {kind} {name!r}: {' and '.join(map(str, owners))}"
        found.append(finding("plugins", text, "Uninstall one of them, or name those to load in KDRECIPES_PLUGINS."))
    loaded = dict.fromkeys(str(one.provider) for one in registry.plugins if one.state == "ok")
    return found or [ok("plugins", ", ".join(loaded))]
