"""Where caches live, and what is said where they can't, or where others can write them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from kdrecipes.disk.files import disk_errors
from kdrecipes.disk.owners import TRUST, exposed, keeps_out
from kdrecipes.disk.writable import refuse_read_only
from kdrecipes.errors import EnvironmentProblem

OWN = f"Set KDRECIPES_HOME to a folder of your own. {TRUST}"
MADE = ("stores", "teachers", "outputs")  # each a folder of entries, all of which a run makes again when it needs them
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


def kept_at(*names: str) -> Path:
    """Where something is kept: the path of these names in `home()`. Whoever reads or writes there asks here first.

    The home itself is made where it is missing, and then nobody else comes into it (mode 0700). What is made below it
    has the rights that the umask leaves.

    Args:
        names: the folder of its kind, such as "stores", and its own name.

    Raises:
        EnvironmentProblem: when the home, a folder on the way, what lies there or anything in it belongs to another
            user than this one or root, or can be written by another; or the home can't be made.
    """
    folder = home()
    path = folder.joinpath(*names)
    _refuse_distrusted(path)
    with disk_errors(folder, _MEND):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def distrusted(path: Path) -> Iterator[tuple[str, str]]:
    """What others own or can write of something in `home()` and of the folders that lead to it.

    Args:
        path: in the home, or the home itself, of which not every entry is looked at then.

    Yields:
        For each a text, and what to do.
    """
    folder = gate = home()
    above = [step for step in (folder, *reversed(path.parents)) if step == folder or folder in step.parents]
    for step in dict.fromkeys([*above, path]):
        if os.path.islink(step):  # the home keeps nobody out of what lies elsewhere
            gate = Path(os.path.realpath(step))
        below = step == path != folder
        for found in exposed(step, below=below, rights=not keeps_out(gate)):
            yield found.text, OWN if found.is_foreign else _closing(gate)


def _closing(gate: Path) -> str:
    """What to do where others can write in a folder."""
    if gate.stat().st_uid != os.geteuid():
        return OWN
    return (
        f"Keep others out with `chmod go= {shlex.quote(str(gate))}`, or set KDRECIPES_HOME to another folder. {TRUST}"
    )


def _refuse_distrusted(path: Path) -> None:
    for found, mend in distrusted(path):
        raise EnvironmentProblem(f"{found}. What others can change under KDRECIPES_HOME is not used. {mend}")


def check_home() -> None:
    """Refuse a home that can't be written, or that others can, before anything is done that would be lost.

    Raises:
        EnvironmentProblem: naming the folder, and what is in the way.
    """
    _refuse_distrusted(home())
    folder = there = home()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        why = "is a file" if there == folder else f"can't be made: {there} is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        why = "can't be written" if there == folder else f"can't be made: {there} can't be written"
    else:
        inside = [folder / name for name in MADE]
        refuse_read_only([*inside, *(one / ".locks" for one in inside)], _MEND)
        return
    raise EnvironmentProblem(f"{folder}, where caches are kept, {why}. {_MEND}")
