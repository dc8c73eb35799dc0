"""What a `.pt2` file may hold: numbers and a graph of torch's operations, nothing that runs while it is opened."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LARGEST = 2**28  # bytes of a graph
_CODE = re.compile(r"\.(so|o|cpp|cubin|py|dll|dylib)$|(^|/)data/aotinductor/")
_OBJECTS = ("custom_obj", "opaque_obj")  # what torch calls the constants that it unpickles
# torch hands these to `eval`: sizes in symbols, such as `Max(1, Symbol('s77', integer=True))`.
_SYMBOL = r"Symbol\('[a-z]{1,4}\d+'(?:, [a-z_]+=(?:True|False))*\)"
_WORDS = "Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Eq|Ne|Le|Lt|Ge|Gt|And|Or|Not"
_SIZE = re.compile(rf"(?:{_SYMBOL}|[a-z]{{1,4}}\d+\b|(?:{_WORDS})\b|\d+\b|[-+*/%<>=!&|~(), ])*+")


def refuse_code(path: Path) -> None:
    """Refuse a file of which torch would run a part while it opens it.

    Raises:
        ValueError: naming the part.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):  # of which torch may read another one than is looked at here
            raise ValueError("two of its parts have one name")
        for member in archive.infolist():
            if _CODE.search(member.filename):
                raise ValueError(f"its part {member.filename} is code, which is never run")
            if member.filename.endswith(".json"):
                if member.file_size > _LARGEST:
                    raise ValueError(f"its part {member.filename} is too large")
                _refuse_in(json.loads(archive.read(member)), member.filename)


@contextmanager
def never_unpickled() -> Iterator[None]:
    """While the block runs, torch.load takes numbers alone, whatever torch itself asks it for."""
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _refuse_in(content: Any, name: str) -> None:
    stack = [content]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if value.get("use_pickle") or str(value.get("path_name", "")).startswith(_OBJECTS):
                raise ValueError(f"a part that {name} lists is a pickle, which is never opened")
            if "expr_str" in value and not _SIZE.fullmatch(str(value["expr_str"])):
                raise ValueError(f"a size in {name} is code, which is never run")
        stack += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
