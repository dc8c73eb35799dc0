"""Which components are installed: load plugins one by one, isolate the broken, look up by kind and name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from kdrecipes.components import hookspecs
from kdrecipes.components.contract import check_component, undescribed
from kdrecipes.components.hookspecs import Component
from kdrecipes.errors import EnvironmentProblem, one_line
from kdrecipes.wording import nearest, normal_name

HEAVY = ("torch", "keras", "tensorflow", "jax")  # seconds to import, and needed by `build` alone
BUILT_IN = tuple(f"kdrecipes.components.{room}" for room in ("datasets", "models", "losses", "callbacks"))


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


@dataclass
class Registry:
    """What is installed. `components` maps (kind, name) to the component and its provider."""

    plugins: list[Plugin] = field(default_factory=list)
    components: dict[tuple[str, str], tuple[Component, Provider]] = field(default_factory=dict)
    conflicts: dict[tuple[str, str], list[Provider]] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """Names of all components of one kind, sorted."""
        return sorted(name for of, name in self.components if of == kind)

    def get(self, kind: str, name: str) -> Component | None:
        """The component, or None where no plugin provides it.

        Raises:
            EnvironmentProblem: where two plugins provide it; both are named.
        """
        if (kind, name) in self.conflicts:
            owners = " and ".join(map(str, self.conflicts[kind, name]))
            raise EnvironmentProblem(f"Two plugins provide the {kind} {name!r}: {owners}. Uninstall one of them.")
        found = self.components.get((kind, name))
        return found[0] if found else None

    def provider(self, kind: str, name: str) -> Provider:
        """Who provides a registered component."""
        return self.components[kind, name][1]

    def add(self, component: Component, provider: Provider) -> None:
        """Register one component; a second of the same kind and name becomes a conflict."""
        key = (component.kind, component.name)
        if key in self.components:
            self.conflicts.setdefault(key, [self.components[key][1]]).append(provider)
        else:
            self.components[key] = (component, provider)

    @property
    def not_loaded(self) -> list[Plugin]:
        """The plugins that are not loaded, or only in part."""
        return [plugin for plugin in self.plugins if plugin.why_not_loaded]


def _register(manager: pluggy.PluginManager, registry: Registry, plugin: Any, provider: Provider) -> None:
    entry = Plugin(provider)
    registry.plugins.append(entry)
    try:
        if manager.is_registered(plugin):
            raise ValueError("another plugin is the same module")
        manager.register(plugin, name=f"{provider.distribution} {provider.plugin}")
        manager.check_pending()
        if not manager.get_hookcallers(plugin):
            raise ValueError("it has no function kdrecipes_components marked with @kdrecipes.hookimpl")
        others = [other for other in manager.get_plugins() if other is not plugin]
        yielded = manager.subset_hook_caller("kdrecipes_components", others)()
        components = [component for part in yielded for component in part]
    except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises, it stops only those who need it
        entry.error = one_line(error)
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        return
    problems = []
    for component in components:
        if found := check_component(component):
            problems += found
            continue
        registry.add(component, provider)
        entry.components.append(f"{component.kind} {component.name}")
        entry.notes += [
            f"{component.kind} {component.name}: option {o!r} has no description" for o in undescribed(component)
        ]
    entry.error = "; ".join(problems)


def _load(manager: pluggy.PluginManager, registry: Registry, entry_point: Any, provider: Provider) -> None:
    """Load an installed plugin; what it imports at once though only `build` needs it becomes a note."""
    before = set(sys.modules)
    try:
        plugin = entry_point.load()
    except (Exception, SystemExit) as error:
        registry.plugins.append(Plugin(provider, error=one_line(error)))
        return
    _register(manager, registry, plugin, provider)
    heavy = [name for name in HEAVY if name in sys.modules and name not in before]
    if heavy:
        note = f"imports {' and '.join(heavy)} when it is loaded, which slows every command down: import inside `build`"
        registry.plugins[-1].notes.append(note)


def _distribution(entry_point: Any) -> str:
    """The name of an entry point's distribution; where a broken installation has none, the entry point's own."""
    return entry_point.dist.name or entry_point.name


def _selected(entry_points: list[Any], registry: Registry) -> list[Any]:
    """The entry points that `KDRECIPES_PLUGINS` lets load, all where it is not set; a name of none becomes an error."""
    selection = os.environ.get("KDRECIPES_PLUGINS")
    if selection is None:
        return entry_points
    known = [(e, {normal_name(e.name), normal_name(_distribution(e))}) for e in entry_points]
    chosen = []
    for name in filter(None, map(str.strip, selection.split(","))):
        found = [entry_point for entry_point, names in known if normal_name(name) in names]
        if not found:
            near = nearest(normal_name(name), set().union(*(names for _, names in known)))
            hint = f"; did you mean {near!r}?" if near else ""
            text = f"KDRECIPES_PLUGINS names it, and no such plugin is installed{hint}"
            registry.plugins.append(Plugin(Provider(name, name, ""), error=text))
        chosen += found
    return chosen


def _other_kdrecipes(dist: importlib.metadata.Distribution, version: str) -> str:
    """What a distribution asks of kdrecipes that `version` does not fulfil, such as "kdrecipes<0.2"; else empty.

    A development version or a candidate counts as what it will be.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import Version

    released = Version(version).base_version
    for text in dist.requires or ():
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue  # pip's business
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if normal_name(needed.name) == "kdrecipes" and applies:
            failing = sorted(str(one) for one in needed.specifier if not one.contains(released, prereleases=True))
            if failing:
                return f"kdrecipes{','.join(failing)}"
    return ""


def _load_file(path: Path) -> tuple[ModuleType, Provider]:
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
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise EnvironmentProblem(f"--plugin {path}: {one_line(error)}") from error
    return module, Provider(path.name, str(path), f"sha256:{digest}")


@cache
def load_registry(files: tuple[Path, ...] = ()) -> Registry:
    """Load the built-ins, every installed plugin (entry-point group `kdrecipes`) and single-file plugins.

    A plugin that fails to load is kept in `registry.plugins` with its error and stops nobody else. The environment
    variable `KDRECIPES_PLUGINS`, where it is set, names the plugins to load beside the built-ins: entry points or
    distributions, with commas between them.

    Args:
        files: paths of single-file plugins, the command line's `--plugin`.

    Raises:
        EnvironmentProblem: when a file given by `--plugin` can't be loaded.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    version = importlib.metadata.version("kdrecipes")
    for name in BUILT_IN:
        _register(manager, registry, importlib.import_module(name), Provider(name, "kdrecipes", version))
    entry_points: list[Any] = sorted(importlib.metadata.entry_points(group="kdrecipes"), key=lambda e: e.name)
    selected = _selected(entry_points, registry)
    for entry_point in entry_points:
        provider = Provider(entry_point.name, _distribution(entry_point), entry_point.dist.version or "")
        if not any(entry_point is one for one in selected):
            registry.plugins.append(Plugin(provider, selected=False))
        elif needed := _other_kdrecipes(entry_point.dist, version):
            registry.plugins.append(Plugin(provider, error=f"needs {needed}, and {version} is installed"))
        else:
            _load(manager, registry, entry_point, provider)
    for file in dict.fromkeys(files):
        module, provider = _load_file(file)
        _register(manager, registry, module, provider)
        if registry.plugins[-1].error:
            raise EnvironmentProblem(f"--plugin {file}: {registry.plugins[-1].error}")
    return registry


def component(kind: str, name: str) -> Component:
    """Look up an installed component.

    Args:
        kind: "model", "dataset", "loss" or "callback".
        name: its name, as in a recipe.

    Raises:
        EnvironmentProblem: when there is none; the message names the nearest and the broken plugins.
    """
    registry = load_registry()
    found = registry.get(kind, name)
    if found is None:
        raise EnvironmentProblem(unknown_component(registry, kind, name))
    return found


def unknown_component(registry: Registry, kind: str, name: str) -> str:
    """The message for a component that no plugin provides."""
    near = nearest(name, registry.names(kind))
    text = f"No {kind} is called {name!r}."
    text += f" Did you mean {near!r}?" if near else f" Installed: {', '.join(registry.names(kind)) or 'none'}."
    return " ".join([text, *(f"T{part[1:]}." for part in not_loaded(registry))])


def not_loaded(registry: Registry) -> list[str]:
    """One clause for each plugin that is not loaded: the component that nobody provides may be its."""
    return [f"the plugin {p.provider.plugin} ({p.provider}) {p.why_not_loaded}" for p in registry.not_loaded]
