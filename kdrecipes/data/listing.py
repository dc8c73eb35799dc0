"""What lies where images come from, noted as a run begins; and what has changed there since, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdrecipes.hashing import digest

Listing = Mapping[str, Any]  # JSON-able: by base split `fingerprint`, and by class `images` and `sha256`


def listing_of(sources: Mapping[str, Any]) -> dict[str, Any]:
    """What the sources list, by base split; those that can't list their files have no entry.

    Args:
        sources: by base split. `source.listing()` gives by class name what tells each of its images: a file's name and
            bytes. It does not tell when a file was written, as `source.fingerprint` may.
    """
    return {
        split: {
            "fingerprint": source.fingerprint,
            "classes": {
                name: {"images": len(files), "sha256": digest(sorted(files))}
                for name, files in source.listing().items()
            },
        }
        for split, source in sources.items()
        if hasattr(source, "listing")
    }


def differences(before: Listing, now: Listing) -> list[str]:
    """What of the listed images changed, a text for each class, such as "train/cat 1 more image"; by split and name."""
    found: list[str] = []
    for split in sorted({*before, *now}):
        had, has = (one.get(split, {}).get("classes", {}) for one in (before, now))
        for name in sorted({*had, *has}):
            if had.get(name) != has.get(name):
                found.append(f"{split}/{name}".removesuffix("/") + f" {_change(had.get(name), has.get(name))}")
    return found


def alike(before: Listing, now: Listing) -> bool:
    """Whether the sources are the same to the last write: nothing needs to be read to know it."""
    return {k: v["fingerprint"] for k, v in before.items()} == {k: v["fingerprint"] for k, v in now.items()}


def _change(had: Mapping[str, Any] | None, has: Mapping[str, Any] | None) -> str:
    if had is None:
        return f"is new ({_images(has['images'])})" if has else ""
    if has is None:
        return f"is gone ({_images(had['images'])})"
    more = has["images"] - had["images"]
    if more == 0:
        return f"other images, as many as before ({has['images']:,})"
    return f"{abs(more):,} {'more' if more > 0 else 'fewer'} image{'s' * (abs(more) > 1)}"


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
