"""Which components there are: of plugins registered one by one, the broken kept apart; looked up by kind and name."""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pluggy

from kdrecipes.components import hookspecs
from kdrecipes.components.contract import check_component, undescribed
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.plugins import HEAVY, Plugin, Provider, built_in, installed, load_file
from kdrecipes.errors import EnvironmentProblem, one_line
from kdrecipes.extras import telling_what_is_missing
from kdrecipes.wording import nearest


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


def _register(manager: pluggy.PluginManager, registry: Registry, plugin: Plugin, module: Any) -> None:
    """Add a loaded plugin and its components; what is wrong with it becomes its error."""
    registry.plugins.append(plugin)
    try:
        if manager.is_registered(module):
            raise ValueError("another plugin is the same module")
        manager.register(module, name=f"{plugin.provider.distribution} {plugin.provider.plugin}")
        manager.check_pending()
        if not manager.get_hookcallers(module):
            raise ValueError("it has no function kdrecipes_components marked with @kdrecipes.hookimpl")
        others = [other for other in manager.get_plugins() if other is not module]
        yielded = manager.subset_hook_caller("kdrecipes_components", others)()
        components = [component for part in yielded for component in part]
    except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises, it stops only those who need it
        plugin.error = one_line(error)
        if manager.is_registered(module):
            manager.unregister(module)
        return
    problems = []
    for component in components:
        # The built-ins keep the rules by a test; checking them anew would be a tenth of what validating a recipe takes.
        if plugin.provider.distribution != "kdrecipes" and (found := check_component(component)):
            problems += found
            continue
        registry.add(component, plugin.provider)
        name = f"{component.kind} {component.name}"
        plugin.components.append(name)
        plugin.notes += [f"{name}: option {o!r} has no description" for o in undescribed(component)]
    plugin.error = "; ".join(problems)


def _load(manager: pluggy.PluginManager, registry: Registry, plugin: Plugin, entry_point: Any) -> None:
    """Load an installed plugin; what it imports at once though only `build` needs it becomes a note."""
    before = set(sys.modules)
    try:
        with telling_what_is_missing("it"):
            module = entry_point.load()
    except (Exception, SystemExit) as error:
        plugin.error = one_line(error)
        registry.plugins.append(plugin)
        return
    _register(manager, registry, plugin, module)
    _note_heavy(plugin, before)


def _note_heavy(plugin: Plugin, before: set[str]) -> None:
    """Note what a plugin imported at once though only `build` needs it; `before`: the modules that were there."""
    heavy = [name for name in HEAVY if name in sys.modules and name not in before]
    if heavy:
        plugin.notes.append(
            f"imports {' and '.join(heavy)} when it is loaded, which slows every command down: import inside `build`"
        )


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
    for plugin, module in built_in(version):
        _register(manager, registry, plugin, module)
    for plugin, entry_point in installed(version):
        if entry_point is None:
            registry.plugins.append(plugin)
        else:
            _load(manager, registry, plugin, entry_point)
    for file in dict.fromkeys(files):
        before = set(sys.modules)
        plugin, module = load_file(file)
        _register(manager, registry, plugin, module)
        _note_heavy(plugin, before)
        if plugin.error:
            raise EnvironmentProblem(f"--plugin {file}: {plugin.error}")
    return registry


def component(kind: str, name: str) -> Component:
    """Look up an installed component.

    Args:
        kind: "model", "dataset", "loss", "callback" or "exporter".
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
