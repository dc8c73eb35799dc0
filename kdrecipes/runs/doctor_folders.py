"""Where runs, caches and data lie: whether the folders can be written, how much room they have; and memory."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from kdrecipes.disk.cache import DOWNLOADS
from kdrecipes.disk.home import MADE, distrusted, home
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.runs.doctor_check import Check, finding, ok
from kdrecipes.wording import readable_bytes

LEAST_FREE = 1_000_000_000  # bytes of disk: a decoded store of a small data set, its teacher and its outputs
LEAST_MEMORY = 1_000_000_000  # bytes: torch and Keras alone take half of it
_SWAPS = 0.1  # share of memory that is still free where a system that has swapped out goes on to do so
_HOME = "Set KDRECIPES_HOME to a folder that can be written."
_MEMORY = Path("/proc/meminfo")


def folders() -> list[Check]:
    """The folders that a run writes to."""
    found = []
    try:
        others = next(distrusted(home()), None)
        found.append(finding("home", *others) if others else _written("home", home(), _HOME))
    except EnvironmentProblem as error:
        found.append(finding("home", str(error), _HOME))
    mend = "Begin runs in a folder that can be written, or name one with --out."
    found.append(_written("runs", Path("runs").absolute(), mend))
    mend = "Set TMPDIR to a folder that can be written."
    try:
        found.append(_written("temporary files", Path(tempfile.gettempdir()), mend))
    except OSError:
        found.append(finding("temporary files", "no folder for them can be written", mend))
    return found


def _written(name: str, folder: Path, mend: str) -> Check:
    """Whether a folder, or the one that it would be made in, can be written and has room; something is written."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return finding(name, f"{folder} can't be used: {there} is no folder", mend)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
        free = shutil.disk_usage(there).free
    except OSError as error:
        return finding(name, f"{folder} can't be written: {error.strerror}", mend)
    if free < LEAST_FREE:
        room = f"Make room there: {readable_bytes(LEAST_FREE)} at least. `kdrecipes cache list` shows what is kept."
        return finding(name, f"{folder} has {readable_bytes(free)} free", room)
    return ok(name, f"{folder}, {readable_bytes(free)} free")


def caches() -> list[Check]:
    """What earlier runs and other programs keep and a run reads: data sets, weights, decoded images."""
    try:
        kept = home()
    except EnvironmentProblem:  # told with the folders
        return [Check("caches", "skipped", "not looked at: there is no home")]
    places = {name: kept / name for name in (*MADE, *DOWNLOADS)}
    places["TFDS"] = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    places["Keras' weights"] = Path(os.environ.get("KERAS_HOME") or "~/.keras", "models")
    found, there = [], []
    for name, place in places.items():
        folder = Path(os.path.expanduser(place))
        if not os.path.lexists(folder):
            continue
        there.append(name)
        if not folder.is_dir():
            found.append(finding("caches", f"{name}: {folder} is no folder", "Move it away; a run makes it anew."))
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            mend = f"Give yourself the right to read and write it: `chmod u+rwx {folder}`; or name another folder."
            found.append(finding("caches", f"{name}: {folder} can't be read and written", mend))
    told = set(distrusted(kept))  # with the folders
    for name in (*MADE, *DOWNLOADS):
        if name in there and (others := [one for one in distrusted(kept / name) if one not in told]):
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            found.append(finding("caches", f"{name}: {others[0][0]}{more}", others[0][1]))
    return found or [ok("caches", f"there and usable: {', '.join(there) or 'none yet; runs make them'}")]


def memory() -> Check:
    """Whether there is memory for a run, and whether the system is out of it and swaps; on Linux."""
    try:
        told = _MEMORY.read_text(encoding="ascii")
    except (OSError, ValueError):
        return Check("memory", "skipped", "not looked at: this system does not tell")
    amounts = {key: 1024 * int(kilobytes) for key, kilobytes in re.findall(r"^(\w+): +(\d+) kB$", told, re.MULTILINE)}
    total, free = amounts.get("MemTotal", 0), amounts.get("MemAvailable", 0)
    swapped = amounts.get("SwapTotal", 0) - amounts.get("SwapFree", 0)
    text = f"{readable_bytes(free)} of {readable_bytes(total)} are free"
    mend = "End other programs. A smaller train.batch_size needs less; train.accumulate keeps what a step learns from."
    if swapped > 0 and free < _SWAPS * total:
        return finding("memory", f"{text}, and {readable_bytes(swapped)} are swapped out, which makes runs slow", mend)
    if free < LEAST_MEMORY:
        return finding("memory", text, mend)
    return ok("memory", text)
