"""What a plugin gives kdrecipes: `Component` records, through the one hook `kdrecipes_components`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

PROJECT = "kdrecipes"
NAMED_BY_RECIPES = ("model", "dataset", "loss", "callback")
KINDS = (*NAMED_BY_RECIPES, "exporter")

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def no_options() -> dict[str, Any]:
    """The options schema of a component that has no options."""
    return {"type": "object", "additionalProperties": False, "properties": {}}


@dataclass(frozen=True)
class Component:
    """One thing that a recipe can name, or of an exporter `kdrecipes export`.

    Args:
        kind: `"model"`, `"dataset"`, `"loss"`, `"callback"` or `"exporter"`.
        name: what the recipe writes in `name = "…"`; unique within its kind.
        build: called with the recipe's options as keyword arguments when a run needs the thing.
            Import heavy packages (torch, keras) inside it: listing and validating never call it.
        options: draft-07 JSON schema of the options, with `"additionalProperties": False`.
            Names that the run itself passes (`classes`, `image_size`, `split`, …) are declared here too.
        summary: one line for `kdrecipes list`.

    Example:
        ```python
        import kdrecipes

        def build(classes: int, image_size: int, width: int = 16):
            import keras
            ...

        @kdrecipes.hookimpl
        def kdrecipes_components():
            yield kdrecipes.Component(
                kind="model", name="tiny", build=build, summary="a tiny convolutional network",
                options={"type": "object", "additionalProperties": False, "properties": {
                    "classes": {"type": "integer"}, "image_size": {"type": "integer"},
                    "width": {"type": "integer", "minimum": 1, "default": 16, "description": "channels"}}},
            )
        ```
    """

    kind: str
    name: str
    build: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=no_options)
    summary: str = ""


@hookspec
def kdrecipes_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield the components that this plugin provides. Called once; must not import torch or keras."""
