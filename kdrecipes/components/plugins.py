"""Which plugins there are: our own, the installed ones that may be loaded, and single files."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from kdrecipes.distributions import stated
from kdrecipes.errors import EnvironmentProblem, one_line
from kdrecipes.extras import telling_what_is_missing
from kdrecipes.wording import nearest, normal_name

HEAVY = ("torch", "keras", "tensorflow", "jax")  # seconds to import, and needed by `build` alone
_OF_AN_EXTRA = re.compile(r""";\s*extra\s*==\s*['"][^'"]+['"]\s*$""")
BUILT_IN = tuple(f"kdrecipes.components.{room}" for room in ("datasets", "models", "losses", "callbacks", "exporters"))


@dataclass(frozen=True)
class Provider:
    """Who provides a component: `distribution` and `version` (empty for the built-ins' own package)."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return "built-in" if self.distribution == "kdrecipes" else f"{self.distribution} {self.version}".strip()


@dataclass
class Plugin:
    """One plugin, loaded or not, for `kdrecipes list plugins`.

    Attributes:
        provider: where it is from.
        components: what it provides, "model vit".
        error: why it, or a part of it, is not loaded; empty where nothing is wrong.
        notes: what its author should mend, though it works.
        selected: whether `KDRECIPES_PLUGINS` lets it be loaded.
    """

    provider: Provider
    components: list[str] = field(default_factory=list)
    error: str = ""
    notes: list[str] = field(default_factory=list)
    selected: bool = True

    @property
    def state(self) -> str:
        """ "ok", "broken" or "left out"."""
        return "left out" if not self.selected else "broken" if self.error else "ok"

    @property
    def why_not_loaded(self) -> str:
        """A clause that says why; empty where all of it is loaded."""
        if not self.selected:
            return "is left out by KDRECIPES_PLUGINS"
        return f"could not be loaded: {self.error}" if self.error else ""


def built_in(version: str) -> Iterator[tuple[Plugin, ModuleType]]:
    """Our own plugins, loaded; `version` is that of kdrecipes."""
    for name in BUILT_IN:
        yield Plugin(Provider(name, "kdrecipes", version)), importlib.import_module(name)


def installed(version: str) -> Iterator[tuple[Plugin, Any]]:
    """Each installed plugin (entry-point group `kdrecipes`) with its entry point, or None where it is not to be loaded.

    The environment variable `KDRECIPES_PLUGINS`, where it is set, names those to load; `version` is that of kdrecipes.
    """
    entry_points: list[Any] = sorted(importlib.metadata.entry_points(group="kdrecipes"), key=lambda e: e.name)
    chosen, missing = _selected(entry_points)
    for plugin in missing:
        yield plugin, None
    for entry_point in entry_points:
        version_of_it = stated(entry_point.dist, "version") or ""
        plugin = Plugin(Provider(entry_point.name, _distribution(entry_point), version_of_it))
        plugin.selected = any(entry_point is one for one in chosen)
        if plugin.selected and (needed := _other_kdrecipes(entry_point.dist, version)):
            plugin.error = f"needs {needed}, and {version} is installed"
        yield plugin, None if plugin.why_not_loaded else entry_point


def _distribution(entry_point: Any) -> str:
    """The name of an entry point's distribution; where a broken installation has none, the entry point's own."""
    name: str = stated(entry_point.dist, "name") or entry_point.name
    return name


def _selected(entry_points: list[Any]) -> tuple[list[Any], list[Plugin]]:
    """The entry points that `KDRECIPES_PLUGINS` lets load, all where it is not set; and its names that are of none."""
    selection = os.environ.get("KDRECIPES_PLUGINS")
    if selection is None:
        return entry_points, []
    known = [(e, {normal_name(e.name), normal_name(_distribution(e))}) for e in entry_points]
    chosen, missing = [], []
    for name in filter(None, map(str.strip, selection.split(","))):
        found = [entry_point for entry_point, names in known if normal_name(name) in names]
        if not found:
            near = nearest(normal_name(name), set().union(*(names for _, names in known)))
            hint = f"; did you mean {near!r}?" if near else ""
            text = f"KDRECIPES_PLUGINS names it, and no such plugin is installed{hint}"
            missing.append(Plugin(Provider(name, name, ""), error=text))
        chosen += found
    return chosen, missing


def _other_kdrecipes(dist: importlib.metadata.Distribution, version: str) -> str:
    """What a distribution asks of kdrecipes that `version` does not fulfil, such as "kdrecipes<0.2"; else empty.

    A development version or a candidate counts as what it will be.
    """
    for text in stated(dist, "requires") or ():
        if _OF_AN_EXTRA.search(text):
            continue  # such as `kdrecipes[run]; extra == "test"`, which says nothing of a plain installation
        name = re.match(r"[A-Za-z0-9._-]*", text)
        if name is not None and normal_name(name[0]) == "kdrecipes" and (failing := _failing(text, version)):
            return f"kdrecipes{','.join(failing)}"
    return ""


def _failing(requirement: str, version: str) -> list[str]:
    """The bounds of a requirement that a version is not within; none where it does not apply here."""
    plain = re.fullmatch(r"[A-Za-z0-9._-]+ *((?:(?:>=|<) *[0-9.]+ *,? *)*)", requirement)
    if plain is None:
        return _failing_specifiers(requirement, version)
    # As nearly every plugin writes it. To import packaging's specifiers takes as long as to load all plugins.
    own = _numbers(version)
    bounds = sorted(re.findall(r"(>=|<) *([0-9.]+)", plain[1]))
    return [f"{sign}{bound}" for sign, bound in bounds if (own < _numbers(bound)) == (sign == ">=")]


def _numbers(version: str) -> tuple[int, ...]:
    """`"0.3.0.dev0"` → `(0, 3)`: the release that it is or will be, without zeros at its end."""
    release = re.match(r"[0-9]+(\.[0-9]+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _failing_specifiers(requirement: str, version: str) -> list[str]:
    """The same for any requirement."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import Version

    try:
        needed = Requirement(requirement)
    except InvalidRequirement:
        return []  # pip's business
    if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
        return []
    released = Version(version).base_version
    return sorted(str(one) for one in needed.specifier if not one.contains(released, prereleases=True))


def load_file(path: Path) -> tuple[Plugin, ModuleType]:
    """Load a single-file plugin, the command line's `--plugin`.

    Raises:
        EnvironmentProblem: the file is missing, no Python file, or fails when it is run.
    """
    if not path.is_file():
        raise EnvironmentProblem(f"--plugin {path}: no such file.")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EnvironmentProblem(f"--plugin {path}: can't be read: {error.strerror}.") from error
    name = f"kdrecipes_plugin_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EnvironmentProblem(f"--plugin {path}: not a Python file (.py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with telling_what_is_missing("it"):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise EnvironmentProblem(f"--plugin {path}: {one_line(error)}") from error
    return Plugin(Provider(path.name, str(path), f"sha256:{digest}")), module
