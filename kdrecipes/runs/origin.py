"""What a run began on, data and files and machine, and what of it has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdrecipes.data.listing import Listing, alike, differences, listing_of
from kdrecipes.data.prepare import Progress, prepare, sources_of
from kdrecipes.disk.json_files import write_sealed
from kdrecipes.errors import KDRecipesError, UsageError, one_line
from kdrecipes.recipe.tables import Recipe
from kdrecipes.runs.changes import nothing_trained
from kdrecipes.runs.folder import RunFolder, read_object
from kdrecipes.wording import some_of

_DECISIVE = ("dataset_sha256", "files")


def check_origin(folder: RunFolder, origin: Mapping[str, Any], listing: Listing) -> list[str]:
    """Note in lock.json what the run stands on, or compare it with what it began with.

    Args:
        folder: the run's.
        origin: from `provenance.origin`.
        listing: of the data's sources.

    Returns:
        What else than the data and files changed since: the report repeats it.

    Raises:
        UsageError: when the data, or a file that the recipe or `--plugin` names, changed, and something was trained.
    """
    lock = read_object(folder.path / "lock.json")
    began = lock.get("origin", origin)
    other = [key for key in _DECISIVE if began.get(key) != origin[key]]
    if other and not nothing_trained(folder.path):
        what = "data" if other[0] == "dataset_sha256" else "files that the recipe names"
        changes = differences(lock.get("listing") or listing, listing) if what == "data" else []
        told = f": {some_of(changes, 'classes')}" if changes else ""
        raise UsageError(
            f"The {what} changed since the run in {folder.path} began{told}. Start it afresh in another folder with "
            "--out, or in this one with --overwrite."
        )
    if other:  # it begins now, and decides now
        lock.pop("decisions", None)
        folder.status.clear()  # such as the seconds that outputs for other data took
        folder.set_status("running")
        began = origin
    write_sealed(folder.path / "lock.json", {**lock, "origin": dict(began), "listing": dict(listing)})
    return [
        f"the run began with {before} and went on with {now}, so it need not end bit for bit as if it had not stopped"
        for before, now in _other_circumstances(began, origin)
    ]


def _other_circumstances(began: Mapping[str, Any], origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a run began with and goes on with where that is neither data nor files: of a table only what differs."""
    for key, now in origin.items():
        before = began.get(key, now)  # the lock of an earlier version may lack it
        if key in _DECISIVE or before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            was, is_ = (", ".join(f"{name} {one.get(name, 'absent')}" for name in names) for one in (before, now))
            yield was, is_
        else:
            yield f"{key} {before}", str(now)


def changed_data(recipe: Recipe, path: Path, progress: Progress | None = None) -> list[str]:
    """What of the data has changed since a finished run, a text for each class; empty where nothing has.

    Names and sizes of files are compared. Images are read only where files were written anew and these stayed. Data
    whose source does not list files, such as a release of a public dataset, are taken for what they were.

    Args:
        recipe: the run's.
        path: the folder of the finished run.
        progress: see `prepare`.
    """
    lock = read_object(path / "lock.json")
    before = lock.get("listing")
    if not before:
        return []
    try:
        now = listing_of(sources_of(recipe)[1])
        if alike(before, now):
            return []
        if changes := differences(before, now):
            return changes
        if prepare(recipe, progress).fingerprint != lock["origin"]["dataset_sha256"]:
            return ["some images changed, and neither their names nor their sizes"]
    except KDRecipesError as error:
        return [one_line(error).removesuffix(".")]
    write_sealed(path / "lock.json", {**lock, "listing": now})  # the next look is a short one
    return []


def refuse_changed_data(recipe: Recipe, path: Path) -> None:
    """Refuse to add students to a run whose data are others now; the run stays as it is.

    Raises:
        UsageError: when they are.
    """
    if changes := changed_data(recipe, path):
        raise UsageError(
            f"The data have changed since the run in {path}: {some_of(changes, 'classes')}. Added students would learn "
            "from others. Train all anew in another folder with --out, or in this one with --overwrite."
        )
