"""One thing that `kdrecipes doctor` looked at, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the check; several of one name tell several things of it.
        state: "ok", "finding", or "skipped" where it could not be looked at.
        found: what there is.
        mend: what to do about a finding; else empty.
    """

    name: str
    state: Literal["ok", "finding", "skipped"]
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name, "ok", found)


def finding(name: str, found: str, mend: str) -> Check:
    """Something wrong, and what to do about it."""
    return Check(name, "finding", found, mend)
