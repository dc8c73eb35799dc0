"""Whose a file is: what another user owns, or can write, is neither trusted nor replaced unless somebody says so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kdrecipes.errors import EnvironmentProblem

TRUST = (
    "Where you trust all who can write there, as a team does, or in a container over a folder of your own, set "
    "KDRECIPES_TRUST_OTHERS=1."
)


def others_are_trusted() -> bool:
    """Whether nothing is asked: `KDRECIPES_TRUST_OTHERS` is 1, or the system has no owners of this kind (Windows)."""
    return os.environ.get("KDRECIPES_TRUST_OTHERS") == "1" or not hasattr(os, "geteuid")


def refuse_foreign(folder: Path, mend: str) -> None:
    """Refuse a folder in which something belongs to another user; one that is not there yet is nobody's.

    Args:
        folder: it and all that it holds are looked at.
        mend: what to do, but for trusting others.

    Raises:
        EnvironmentProblem: naming the first such file or folder, and whose it is.
    """
    for found in foreign(folder):
        raise EnvironmentProblem(f"{found}. Files of others are neither trusted nor replaced. {mend} {TRUST}")


def foreign(top: Path, *, below: bool = True) -> Iterator[str]:
    """What belongs to another user than this one or root, and whose it is, a text for each.

    Args:
        top: a file or folder, which need not be there.
        below: whether what it holds is looked at.
    """
    if others_are_trusted():
        return
    for path, facts in _found(top, below):
        if facts.st_uid not in (os.geteuid(), 0):
            yield f"{path} belongs to {_user(facts.st_uid)}"


def open_to_others(top: Path, *, below: bool = True) -> Iterator[str]:
    """What another user than this one can write, and who, a text for each.

    Args:
        top, below: as for `foreign`.
    """
    if others_are_trusted():
        return
    for path, facts in _found(top, below):
        mode = facts.st_mode
        if stat.S_ISLNK(mode):  # its mode says nothing
            continue
        if mode & stat.S_IWOTH:
            yield f"{path} can be written by every user"
        elif mode & stat.S_IWGRP and not _is_private(facts.st_gid):
            yield f"{path} can be written by {_group(facts.st_gid)}"


def keeps_out(folder: Path) -> bool:
    """Whether only its owner comes into a folder."""
    return folder.is_dir() and not folder.stat().st_mode & 0o077


def _found(top: Path, below: bool) -> Iterator[tuple[Path, os.stat_result]]:
    """`top`, what it leads to where it is a link, and all below it.

    A link below it is looked at, not followed: whoever made it chose where it leads.
    """
    inside = os.walk(top) if below else ()
    for path in (top, top.resolve(), *(Path(at, name) for at, dirs, files in inside for name in (*dirs, *files))):
        try:
            yield path, path.lstat()
        except OSError:  # not there yet, removed meanwhile, or behind what can't be read
            continue


def _is_private(group: int) -> bool:
    """Whether it is the group of this user alone, which many systems give each of them, with rights to write."""
    import grp
    import pwd

    try:
        me, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return me.pw_gid == group and found.gr_name == me.pw_name and set(found.gr_mem) <= {me.pw_name}


def _user(number: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:  # of the world outside of a container, or of another machine
        return f"user {number}"


def _group(number: int) -> str:
    import grp

    try:
        return f"group {grp.getgrgid(number).gr_name}"
    except KeyError:
        return f"group {number}"
