"""Networks found by a part of their names: the components' own, and those that their options take.

A builder may tell the latter by an attribute `names`, as `docs/plugins.md` says. Nothing is built, and nothing fetched.
"""

from __future__ import annotations

from typing import NamedTuple

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.registry import Registry
from kdrecipes.errors import one_line
from kdrecipes.wording import bare_name, nearest_names


class Named(NamedTuple):
    """A network that a recipe can name.

    Attributes:
        name: what it is called.
        keys: what the recipe writes in the network's table, `{"name": "keras_applications", "model": "ConvNeXtTiny"}`.
        provider: who provides the component.
    """

    name: str
    keys: dict[str, str]
    provider: str


class Search(NamedTuple):
    """What a search gives: the networks found; where there are none, the nearest; why some could not be looked at."""

    found: list[Named]
    nearest: list[Named]
    untold: list[str]


def search(registry: Registry, kind: str, text: str) -> Search:
    """The components of one kind, and the names that their options take, whose names hold a text.

    Case and `-`, `_`, `.`, `/` and spaces do not count: "mobilenetv3" is in `mobilenet_v3_small`.

    Args:
        registry: what is installed.
        kind: as of a component, "model".
        text: a part of a name.
    """
    known, untold = _known(registry, kind)
    wanted = bare_name(text)
    if found := [one for one in known if wanted in bare_name(one.name)]:
        return Search(found, [], untold)
    near = [bare_name(name) for name in nearest_names(text, (one.name for one in known))]
    return Search([], [one for name in near for one in known if bare_name(one.name) == name], untold)


def names_told(component: Component) -> dict[str, list[str]]:
    """The names that options of a component take, by option, as its builder tells; none where it tells nothing.

    Raises:
        ValueError: what it tells is not a table from its options to lists of texts.
        Exception: whatever a stranger's code raises; an ImportError where its library is not installed.
    """
    tell = getattr(component.build, "names", None)
    if tell is None:
        return {}
    told = {option: list(names) for option, names in dict(tell()).items()}
    for option, names in told.items():
        if option not in component.options.get("properties", {}):
            raise ValueError(f"build.names() tells names of {option!r}, which its options do not declare")
        if wrong := [name for name in names if not isinstance(name, str) or not name]:
            raise ValueError(f"build.names() must tell texts for {option!r}. Received: {wrong[0]!r}")
    return told


def _known(registry: Registry, kind: str) -> tuple[list[Named], list[str]]:
    """All names there are, and a clause for each component that could not tell its own."""
    known, untold = [], []
    for name in registry.names(kind):
        component, provider = registry.components[kind, name]
        known.append(Named(name, {"name": name}, str(provider)))
        try:
            told = names_told(component)
        except Exception as error:  # a stranger's code, or a library that is not installed: the others are shown
            untold.append(f"the names of {name} can't be listed: {one_line(error)}")
            continue
        for option, names in told.items():
            known += [Named(one, {"name": name, option: one}, str(provider)) for one in sorted(set(names))]
    return known, untold
