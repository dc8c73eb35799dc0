"""Which options of a component are paths, that begin at the recipe's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def is_path(schema: Mapping[str, Any], value: str) -> bool:
    """Whether an option's value is a path: `"format": "path"`, or an `anyOf` of words and paths and not a word."""
    branches = schema.get("anyOf", [schema])
    if any(value in b.get("enum", ()) or ("pattern" in b and re.search(b["pattern"], value)) for b in branches):
        return False
    return any(b.get("format") == "path" for b in branches)
