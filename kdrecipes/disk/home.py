"""Where caches live."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`KDRECIPES_HOME`, default `~/.cache/kdrecipes`."""
    return Path(os.environ.get("KDRECIPES_HOME") or "~/.cache/kdrecipes").expanduser()
