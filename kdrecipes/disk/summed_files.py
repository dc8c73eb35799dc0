"""Files of a fixed form, which has no place for a checksum: it stands in a hidden file beside them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdrecipes.disk.files import new_file


def write_summed(file: Path, text: str) -> None:
    """Write a text, atomically, and what `read_summed` knows it by."""
    known, there = _sums(file), _sha256(file.read_bytes()) if file.is_file() else ""
    known = [there] if there and (there in known or not known) else known  # of a damaged one it stays what it was
    new = _sha256(text.encode("utf-8", "backslashreplace"))  # as `new_file` writes it
    with new_file(sums_of(file), "w") as sums:  # first, and with the one before: a kill just here leaves that text
        sums.write("".join(f"{one}\n" for one in [*known, new]))
    with new_file(file, "w") as written:
        written.write(text)


def read_summed(file: Path) -> str:
    """A text that `write_summed` wrote, or one of an earlier version, which nothing is known of.

    Raises:
        OSError: when it is missing or the disk fails.
        ValueError: when it is another text, or none. A copy without hidden files, over an earlier copy that has them,
            leaves another text than the checksums are of: the message says how to go on with it.
    """
    before = None
    while True:
        found = file.read_bytes(), _sums(file)
        content, sums = found
        if not sums or _sha256(content) in sums:
            return content.decode("utf-8")
        if found == before:  # else another process wrote between the two
            raise ValueError(
                f"its content is not that of its checksum in the hidden file {sums_of(file).name}; if the folder was "
                "copied without hidden files, remove that one"
            )
        before = found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sums_of(file: Path) -> Path:
    """The hidden file beside another that its checksum stands in, and that of the text before it."""
    return file.with_name(f".{file.name}.sha256")


def _sums(file: Path) -> list[str]:
    try:
        return sums_of(file).read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # of an earlier version, left behind by a copy, or damaged itself
        return []
