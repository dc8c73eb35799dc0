"""What installed distributions state of themselves, also where an installation is broken."""

from __future__ import annotations

from importlib import metadata
from typing import Any

UNKNOWN = "unknown"  # the version that a report gives of a broken installation
_LOST = (FileNotFoundError, KeyError)  # no metadata; metadata without this field


def installed_version(name: str) -> str | None:
    """The version of a distribution; empty where its installation states none, and None where it is not installed.

    An upgrade that was interrupted leaves an installation whose file of metadata is gone. The standard library answers
    None then. The package importlib_metadata raises, and once anything imports that package, the standard library's
    distributions are of its kind.
    """
    try:
        version: str | None = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    except _LOST:
        return ""
    return version or ""


def stated(distribution: Any, attribute: str) -> Any:
    """What a distribution states of itself, such as its "version"; None where it states no such thing.

    A broken installation states nothing, as for `installed_version`.
    """
    try:
        return getattr(distribution, attribute)
    except _LOST:
        return None
