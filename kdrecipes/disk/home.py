"""Where caches live, and what is said where they can't."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kdrecipes.errors import EnvironmentProblem

_MEND = "Set KDRECIPES_HOME to a folder that can be written."


def home() -> Path:
    """`KDRECIPES_HOME`; default `~/.cache/kdrecipes` on Linux, elsewhere the user's cache folder of that system.

    Raises:
        EnvironmentProblem: when it lies in the home of a user who has none.
    """
    named = os.environ.get("KDRECIPES_HOME")
    if named or sys.platform == "linux":  # platformdirs would follow XDG_CACHE_HOME, and lose what was kept before
        try:
            return Path(named or "~/.cache/kdrecipes").expanduser()
        except RuntimeError:  # no HOME, and no such user
            told = f"KDRECIPES_HOME = {named}: this user has" if named else "HOME is not set, and this user has"
            raise EnvironmentProblem(f"{told} no home folder. {_MEND}") from None
    from platformdirs import user_cache_path  # late: `kdrecipes validate` keeps nothing

    folder = user_cache_path("kdrecipes", appauthor=False)
    if not folder.is_absolute():  # it leaves a ~ that leads nowhere as it is
        raise EnvironmentProblem(f"This user has no home folder. {_MEND}")
    return folder


def check_home() -> None:
    """Refuse a home that can't be written, before anything is done that would be lost.

    Raises:
        EnvironmentProblem: naming the folder, and what is in the way.
    """
    folder = there = home()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        why = "is a file" if there == folder else f"can't be made: {there} is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        why = "can't be written" if there == folder else f"can't be made: {there} can't be written"
    else:
        return
    raise EnvironmentProblem(f"{folder}, where caches are kept, {why}. {_MEND}")
