"""`Recipe`: a valid recipe, frozen."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.registry import Registry
from kdrecipes.recipe.positions import Path as KeyPath


@dataclass(frozen=True)
class Recipe:
    """A valid recipe.

    Attributes:
        data: the resolved form, every default filled in. Treat it as read-only.
        text: the file, verbatim.
        source: where it was read from, as given.
        folder: paths in the recipe are relative to it.
        overrides: the `--set` texts, in order.
        fingerprint: sha256 (hex) of the resolved form without `name`, `description` and callbacks.
        registry: the components it was validated against.
        origins: where each key that is written came from, `base.toml:7` or `--set train.epochs=1`; what is not in it
            is a default.
    """

    data: Mapping[str, Any]
    text: str
    source: str
    folder: Path
    overrides: tuple[str, ...]
    fingerprint: str
    registry: Registry = field(repr=False)
    origins: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The recipe's name, which is also its run folder's."""
        return str(self.data["name"])

    def options(self, table: Mapping[str, Any], kind: str, **passed: Any) -> dict[str, Any]:
        """The keyword arguments for the component that `table` names.

        Options of `"format": "path"` become absolute; of `passed` those are added that the component declares.
        """
        component = self.registry.components[kind, table["name"]][0]
        declared = component.options.get("properties", {})
        options = {key: table[key] for key in recipe_options(component)["properties"] if key in table}
        for key, value in options.items():
            if isinstance(value, str) and is_path(declared[key], value):
                options[key] = str(self.folder / os.path.expanduser(value))  # an unknown ~user stays as it is
        return options | {key: value for key, value in passed.items() if key in declared}


def is_path(schema: Mapping[str, Any], value: str) -> bool:
    """Whether an option's value is a path: `"format": "path"`, or an `anyOf` of words and paths and not a word."""
    branches = schema.get("anyOf", [schema])
    if any(value in b.get("enum", ()) or ("pattern" in b and re.search(b["pattern"], value)) for b in branches):
        return False
    return any(b.get("format") == "path" for b in branches)
