"""Where caches live."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """`KDRECIPES_HOME`; default `~/.cache/kdrecipes` on Linux, elsewhere the user's cache folder of that system."""
    if named := os.environ.get("KDRECIPES_HOME"):
        return Path(named).expanduser()
    if sys.platform == "linux":  # platformdirs would follow XDG_CACHE_HOME, and lose what was kept here before
        return Path("~/.cache/kdrecipes").expanduser()
    from platformdirs import user_cache_path  # late: `kdrecipes validate` keeps nothing

    return user_cache_path("kdrecipes", appauthor=False)
