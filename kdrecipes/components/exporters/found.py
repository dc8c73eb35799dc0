"""The exporter that is meant, by its name or by a file's suffix, built and able to work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdrecipes.components.registry import Registry, load_registry, unknown_component
from kdrecipes.errors import UsageError
from kdrecipes.extras import need


def exporter_named(name: str, options: Mapping[str, Any], plugins: tuple[Path, ...] = ()) -> Any:
    """An exporter, built.

    Args:
        name: such as "onnx".
        options: its own.
        plugins: single-file plugins to load first.

    Raises:
        UsageError: there is none of that name, or it takes no such options.
        MissingPart: a package that it needs is not there; the message says what installs it.
    """
    from jsonschema import Draft7Validator

    registry = load_registry(plugins)
    component = registry.get("exporter", name)
    if component is None:
        raise UsageError(unknown_component(registry, "exporter", name))
    for key in options:
        if key not in component.options.get("properties", {}):
            takers = [n for n in registry.names("exporter") if key in _options_of(registry, n)]
            which = f"These do: {', '.join(takers)}" if takers else "No format does"
            its = ", ".join(_options_of(registry, name)) or "none"
            raise UsageError(f"The format {name!r} has no option {key!r}. {which}. Its own: {its}.")
    for problem in Draft7Validator(dict(component.options)).iter_errors(dict(options)):
        raise UsageError(f"The format {name!r}, option {problem.json_path[2:]!r}: {problem.message}.")
    exporter = component.build(**options)
    return _able(name, exporter, (*exporter.to_write, *exporter.to_read))


def _options_of(registry: Registry, name: str) -> list[str]:
    return list(registry.components["exporter", name][0].options.get("properties", {}))


def exporter_of(suffix: str, plugins: tuple[Path, ...] = ()) -> Any | None:
    """The exporter that reads files of a suffix, such as ".onnx"; None where there is none.

    Raises:
        MissingPart: a package that it needs is not there.
    """
    return next((_able(n, one, one.to_read) for n, one in _all(load_registry(plugins)) if one.suffix == suffix), None)


def suffixes(plugins: tuple[Path, ...] = ()) -> list[str]:
    """The suffixes of what exporters write, sorted."""
    return sorted({one.suffix for _, one in _all(load_registry(plugins))})


def _all(registry: Registry) -> list[tuple[str, Any]]:
    """The exporters by name, built; a plugin's that fails stops nobody who reads another format."""
    found = []
    for name in registry.names("exporter"):
        with suppress(Exception):
            found.append((name, registry.components["exporter", name][0].build()))
    return found


def _able(name: str, exporter: Any, modules: Sequence[str]) -> Any:
    need(f"The format {name!r}", modules, exporter.extra)
    return exporter
