"""Whose a file is: what another user owns, or can write, is neither trusted nor replaced unless somebody says so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
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


def foreign(top: Path) -> Iterator[str]:
    """What belongs to another user than this one or root, and whose it is, a text for each.

    Args:
        top: a file or folder, which need not be there, with all that it holds.
    """
    return (found.text for found in exposed(top, rights=False))


@dataclass(frozen=True)
class Exposed:
    """Something that another user than this one and root owns or can write: a text, and which of the two it is."""

    text: str
    is_foreign: bool


def exposed(top: Path, *, below: bool = True, rights: bool) -> Iterator[Exposed]:
    """What another user than this one and root owns or, with `rights`, can write.

    Args:
        top: a file or folder, which need not be there.
        below: whether what it holds is looked at.
        rights: whether it is asked who can write.
    """
    if others_are_trusted():
        return
    for path, facts in _found(top, below):
        if facts.st_uid not in (os.geteuid(), 0):
            yield Exposed(f"{path} belongs to {_user(facts.st_uid)}", is_foreign=True)
        elif rights and (who := _writers(facts)):
            yield Exposed(f"{path} can be written by {who}", is_foreign=False)


def keeps_out(folder: Path) -> bool:
    """Whether only its owner comes into a folder."""
    return os.path.isdir(folder) and not folder.stat().st_mode & 0o077


def _found(top: Path, below: bool) -> Iterator[tuple[str, os.stat_result]]:
    """`top`, what it leads to where it is a link, and all below it, one after the other.

    A link below it is looked at, not followed: whoever made it chose where it leads. A link that leads back to itself
    leads to itself.
    """
    inside = (os.path.join(at, name) for at, dirs, files in os.walk(top) for name in (*dirs, *files))
    tops = dict.fromkeys([str(top), os.path.realpath(top)] if os.path.islink(top) else [str(top)])
    for path in chain(tops, inside if below else ()):
        try:
            yield path, os.lstat(path)
        except OSError:  # not there yet, removed meanwhile, or behind what can't be read
            continue


def _writers(facts: os.stat_result) -> str:
    """Who else can write a file, in words; empty for nobody, and for a link, whose mode says nothing."""
    if stat.S_ISLNK(facts.st_mode):
        return ""
    if facts.st_mode & stat.S_IWOTH:
        return "every user"
    return _group(facts.st_gid) if facts.st_mode & stat.S_IWGRP and not _is_private(facts.st_gid) else ""


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
