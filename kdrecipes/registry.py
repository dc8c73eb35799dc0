"""Which components are installed: load plugins one by one, isolate the broken, look up by kind and name."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from kdrecipes import hookspecs
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.hookspecs import KINDS, Component

BUILT_IN = ("kdrecipes.data", "kdrecipes.models", "kdrecipes.losses", "kdrecipes.callbacks")

# The keys that the run itself reads from a component's table (a component may not claim them) …
RUN_KEYS: dict[str, tuple[str, ...]] = {
    "dataset": ("name", "train", "validation", "test", "image_size", "resize", "store_size", "corrupt_limit", "views"),
    "teacher": ("name", "image_size", "precision", "cache", "cache_limit_gb", "preflight", "train"),
    "student": ("name", "image_size"),
    "loss": ("name", "label_weight", "label_smoothing", "terms", "weight", "schedule", "student_layers",
             "teacher_layers", "projector"),
    "callback": ("name",),
}  # fmt: skip
_TABLES = {"model": ("teacher", "student"), "dataset": ("dataset",), "loss": ("loss",), "callback": ("callback",)}
# … and the arguments that the run passes to `build` where the options declare them.
PASSED_BY_RUN: dict[str, tuple[str, ...]] = {
    "model": ("classes", "image_size"),
    "dataset": ("split",),
    "loss": ("classes", "examples"),
    "callback": ("folder", "arm", "seed"),
}


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
    """One loaded or broken plugin, for `kdrecipes list plugins`."""

    provider: Provider
    components: list[str] = field(default_factory=list)
    error: str = ""
    notes: list[str] = field(default_factory=list)


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
    def broken(self) -> list[Plugin]:
        """The plugins that could not be loaded, or only in part."""
        return [plugin for plugin in self.plugins if plugin.error]


def recipe_options(component: Component) -> dict[str, Any]:
    """The component's options schema as a recipe sees it: without the names that the run passes."""
    passed = PASSED_BY_RUN[component.kind]
    schema = dict(component.options)
    schema["properties"] = {k: v for k, v in schema.get("properties", {}).items() if k not in passed}
    schema["required"] = [k for k in schema.get("required", []) if k not in passed]
    if not schema["required"]:
        del schema["required"]
    return schema


def check_component(component: Any) -> list[str]:
    """Why a component can't be registered; an empty list when it can."""
    if not isinstance(component, Component):
        return [f"yielded {type(component).__name__}, not a kdrecipes.Component"]
    label = f"{component.kind} {component.name!r}"
    if component.kind not in KINDS:
        return [f"{label}: kind must be one of {', '.join(KINDS)}. Received: {component.kind!r}"]
    if not (isinstance(component.name, str) and re.fullmatch("[A-Za-z0-9._-]+", component.name)):
        return [f"{label}: its name must consist of letters, digits, '.', '_' and '-'"]
    if not isinstance(component.summary, str):
        return [f"{label}: its summary must be a string. Received: {component.summary!r}"]
    if not isinstance(component.options, dict):
        return [f"{label}: its options must be a dict, a draft-07 schema. Received: {component.options!r}"]
    if not callable(component.build):
        return [f"{label}: build must be callable. Received: {component.build!r}"]
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError

    problems = []
    try:
        Draft7Validator.check_schema(component.options)
    except SchemaError as error:
        return [f"{label}: its options are no draft-07 schema: {error.message}"]
    try:
        json.dumps(component.options, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [f"{label}: its options can't be written as JSON: {error}"]
    if component.options.get("additionalProperties") is not False:
        problems.append(f'{label}: its options need "additionalProperties": false')
    reserved = {key for table in _TABLES[component.kind] for key in RUN_KEYS[table]}
    for key, schema in component.options.get("properties", {}).items():
        if not isinstance(schema, dict):
            problems.append(f"{label}: its option {key!r} needs a schema. Received: {schema!r}")
        if key in reserved and key not in PASSED_BY_RUN[component.kind]:
            problems.append(f"{label}: its option {key!r} is one of the run's own keys")
    return problems + [
        f"{label}: {ref!r} in its options points to nothing in them" for ref in _bad_refs(component.options)
    ]


def undescribed(component: Component) -> list[str]:
    """Options without a description: unusual, never fatal."""
    properties = recipe_options(component)["properties"]
    return sorted(name for name, schema in properties.items() if not schema.get("description"))


def _bad_refs(options: Mapping[str, Any]) -> Iterable[str]:
    """The `$ref`s that lead out of `options` or nowhere."""

    def leads_somewhere(ref: str) -> bool:
        target: Any = options
        for part in ref.removeprefix("#").split("/")[1:]:
            target = target.get(part) if isinstance(target, dict) else None
        return ref.startswith("#/") and isinstance(target, dict) and "$ref" not in target

    def walk(schema: Any) -> Iterable[str]:
        if isinstance(schema, dict):
            if isinstance(ref := schema.get("$ref"), str) and not leads_somewhere(ref):
                yield ref
            for value in schema.values():
                yield from walk(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from walk(value)

    return walk(options)


def _register(manager: pluggy.PluginManager, registry: Registry, plugin: Any, provider: Provider) -> None:
    entry = Plugin(provider)
    registry.plugins.append(entry)
    try:
        manager.register(plugin, name=provider.plugin)
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


def one_line(error: BaseException) -> str:
    """An exception as one line of text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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

    A plugin that fails to load is kept in `registry.plugins` with its error and stops nobody else.

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
    for entry_point in sorted(importlib.metadata.entry_points(group="kdrecipes"), key=lambda e: e.name):
        dist = entry_point.dist
        provider = Provider(entry_point.name, dist.name if dist else "unknown", dist.version if dist else "")
        try:
            plugin = entry_point.load()
        except (Exception, SystemExit) as error:
            registry.plugins.append(Plugin(provider, error=one_line(error)))
            continue
        _register(manager, registry, plugin, provider)
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
    """One clause for each broken plugin: the component that nobody provides may be its."""
    return [f"the plugin {p.provider.plugin} ({p.provider}) could not be loaded: {p.error}" for p in registry.broken]


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice most like `word`, or an empty string where none is near."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return close[0] if close else ""
