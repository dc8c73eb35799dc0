"""JSON files: read with one kind of error for damage, and sealed with a checksum where a wrong value would be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdrecipes.disk.files import write_json
from kdrecipes.hashing import digest

SEAL = "sha256 of the rest"  # the key of a file's checksum: with spaces, so that nothing else is called so


def parsed(text: str) -> Any:
    """The value of a JSON text without NaN and infinities, which Python would read.

    Raises:
        ValueError: for any other text, one that is nested too deep too.
    """

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_json(file: Path) -> Any:
    """The value of a JSON file; of a sealed one without its seal.

    Raises:
        OSError: when it is missing or the disk fails.
        ValueError: when it is no JSON, or not what was sealed. A file without a seal, of an earlier version, is taken
            as it is.
    """
    value = parsed(file.read_text(encoding="utf-8"))
    if isinstance(value, dict) and SEAL in value:
        told = value.pop(SEAL)
        if told != digest(value):
            raise ValueError("its content is not that of its checksum")
    return value


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-able table and its checksum, which `read_json` takes out again."""
    return {**value, SEAL: digest(json.loads(json.dumps(value)))}  # of what will be read: a tuple is a list then


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a table and its checksum as JSON, atomically."""
    write_json(path, sealed(value))
