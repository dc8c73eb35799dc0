"""Recipes as somebody writes them who means harm: each follows from its seed alone."""

from __future__ import annotations

import copy
import json
import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kdrecipes.components.registry import load_registry

VALID = Path(__file__).parents[1] / "recipes" / "valid"
BASES = [
    json.loads(text) if name.endswith("json") else tomllib.loads(text)
    for name, text in ((file.name, file.read_text(encoding="utf-8")) for file in sorted(VALID.iterdir()))
    if not name.startswith(("everything", "extends", "sweep"))  # large ones, which others show in parts
]

# What a terminal obeys, what turns or hides letters, what ends a line, and what a page would run.
TERMINAL = [
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x1b]8;;http://x.invalid\x07a",
    "\x9b31m",
    "\x08\x08ok",
    "\rok",
    "\x7f",
    "\0",
]
UNICODE = [
    "\u202eslr",
    "\u2066a\u2069",
    "\u200b",
    "\ufeff",
    "ﬀ",
    "K",
    "аdam",
    "e\u0301",
    "\u2028",
    "\U000e0041",
    "\ufffe",
]
PAGE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "${HOME}",
    "$(id)",
    "`id`",
    "%n%s",
]
PATHS = ["../../x", "/etc/passwd", "..", ".", "~root/x", "C:\\x", "\\\\x\\y", "a/../../b", "file:///etc/passwd", "//x"]
ADDRESSES = ["http://x.invalid/r.json", "https://x.invalid/#/definitions/a", "#/definitions/term", "file:///etc/hosts"]
CODE = [
    "os:system",
    "os.system",
    "plugin.py",
    "__import__('os').system('id')",
    "!!python/object/apply:os.system",
]
TEXTS = [
    *TERMINAL,
    *UNICODE,
    *PAGE,
    *PATHS,
    *ADDRESSES,
    *CODE,
    "",
    " ",
    "x" * 5000,
    "\U0001f469\u200d" * 50,
    "nan",
    "\\",
]
KEYS = [
    *TEXTS,
    "__class__",
    "__proto__",
    "self",
    "$ref",
    "$schema",
    "extends",
    "name",
    "_target_",
    "plugins",
    "0",
    "a.b",
]
NUMBERS = [0, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 1e308, -1e308, 5e-324, -0.0, 1e-9, 0.5, True, False]
NO_NUMBERS = [float("nan"), float("inf"), float("-inf")]
BYTES = [
    b"\xff",
    b"\xc3",
    b"\x00",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x1b[31m",
    b"\r",
    b"\xef\xbb\xbf",
    b"\\u0000",
]


class Hostile(NamedTuple):
    """One recipe: its file's suffix and bytes, and what a command adds to it."""

    suffix: str
    content: bytes
    overrides: list[str]
    grid: list[str]
    search: bool


def hostile(seed: int) -> Hostile:
    """The recipe of a seed."""
    draw = random.Random(seed)
    data = copy.deepcopy(draw.choice(BASES))
    for _ in range(draw.choice((0, 1, 1, 2, 4))):
        _harm(data, draw)
    suffix = draw.choice((".toml", ".json"))
    content = (_json if suffix == ".json" else _toml)(data, draw).encode("utf-8", "surrogatepass")
    if draw.random() < 0.25:
        content = _spoiled(content, draw)
    overrides = [_assignment(data, draw) for _ in range(draw.choice((0, 0, 0, 1, 2)))]
    grid = [_assignment(data, draw) for _ in range(draw.choice((0, 0, 0, 0, 1, 2)))]
    return Hostile(suffix, content, overrides, grid, draw.random() < 0.5)


def value(draw: random.Random, depth: int = 0) -> Any:
    """Any value, of any type and size."""
    kind = draw.randrange(12 if depth < 2 else 7)
    if kind < 4:
        return draw.choice(TEXTS) if draw.random() < 0.8 else draw.choice(TEXTS) + draw.choice(TEXTS)
    if kind < 6:
        return draw.choice(NUMBERS)
    if kind == 6:
        return draw.choice([*NO_NUMBERS, None, {}, []])
    if kind == 7:
        return [value(draw, depth + 1) for _ in range(draw.choice((1, 2, 3, 300)) if depth == 0 else 2)]
    if kind == 8:
        return {draw.choice(KEYS): value(draw, depth + 1) for _ in range(draw.choice((1, 2, 5)))}
    if kind == 9:
        return _nested(draw.choice((2, 31, 32, 33, 40)), draw.choice(("list", "table")))
    if kind == 10:
        return {"name": draw.choice([*_names(), *TEXTS]), draw.choice(KEYS): value(draw, depth + 1)}
    return {"$ref": draw.choice([*ADDRESSES, *PATHS])}


def _names() -> list[str]:
    return sorted({name for _, name in load_registry().components})


def _nested(depth: int, kind: str) -> Any:
    inner: Any = "x"
    for _ in range(depth):
        inner = [inner] if kind == "list" else {"a": inner}
    return inner


def _spots(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a recipe, but those within what is nested without end: its table or list, and its key there."""
    stack = [(data, 0)]
    while stack:
        holder, depth = stack.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list) and depth < 5:
                stack.append((holder[key], depth + 1))


def _harm(data: dict[str, Any], draw: random.Random) -> None:
    """One change of a recipe, in place."""
    spots = list(_spots(data))
    if not spots:
        data[draw.choice(KEYS)] = value(draw)
        return
    holder, key = draw.choice(spots)
    tables = [data, *(h[k] for h, k in spots if isinstance(h[k], dict))]
    how = draw.randrange(8)
    if how < 3:
        holder[key] = value(draw)
    elif how == 3 and isinstance(holder, dict):
        holder[draw.choice(KEYS)] = holder.pop(key)
    elif how == 4:
        draw.choice(tables)[draw.choice(KEYS)] = value(draw)
    elif how == 5:
        data["name"] = draw.choice(TEXTS)
    elif how == 6:
        data["extends"] = draw.choice([*PATHS, *ADDRESSES, "circle.toml", "chain.toml", "self.toml", value(draw)])
    else:
        named = [table for table in tables if "name" in table]
        draw.choice(named or [data])["name"] = draw.choice(TEXTS)


def _spoiled(content: bytes, draw: random.Random) -> bytes:
    """Bytes put in, a part left out, doubled or moved: keys twice, tables twice, text that ends anywhere."""
    at, end = sorted((draw.randrange(len(content) + 1), draw.randrange(len(content) + 1)))
    how = draw.randrange(5)
    if how == 0:
        return content[:at] + draw.choice(BYTES) + content[at:]
    if how == 1:
        return content[:at] + content[end:]
    if how == 2:
        return content[:end] + content[at:]
    if how == 3:
        return content[:at] + b"[" * draw.choice((1, 40, 5000)) + content[at:]
    return content[:at] + b"9" * draw.choice((20, 5000)) + content[at:]


def _assignment(data: dict[str, Any], draw: random.Random) -> str:
    """What stands behind `--set` or `--grid`."""
    paths = [k for h, k in _spots(data) if isinstance(k, str)] + ["loss.temperature", "train.epochs", "student.name"]
    key = draw.choice([*paths, *KEYS])
    how = draw.randrange(6)
    if how == 0:
        return f"{key}={draw.choice(TEXTS)}"
    if how == 1:
        return f"{key}={_toml_value(value(draw))}"
    if how == 2:
        return draw.choice(TEXTS)
    if how == 3:
        low, high = (draw.choice(["1", "-1", "1e999", "9" * 5000, "0", "nan", "1e-400", "8"]) for _ in range(2))
        return f"{key}={low}..{high}" + draw.choice(("", ":log"))
    if how == 4:
        return f"{'a.' * draw.choice((1, 31, 32, 500))}{key}=1"
    return f"{_quoted(key)}.{_quoted(draw.choice(KEYS))}={_toml_value(value(draw))}, {_toml_value(value(draw))}"


def _json(data: Any, draw: random.Random) -> str:
    return json.dumps(data, indent=draw.choice((None, 1)), ensure_ascii=draw.random() < 0.5)


def _toml(data: Any, draw: random.Random) -> str:
    return "".join(f"{_quoted(key)} = {_toml_value(part)}\n" for key, part in data.items())


def _quoted(text: str) -> str:
    return json.dumps(re.sub("[\ud800-\udfff]", "?", text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(item: Any) -> str:
    if isinstance(item, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_toml_value(part)}" for key, part in item.items()) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(map(_toml_value, item)) + "]"
    if item is None:
        return "{}"
    return _quoted(item) if isinstance(item, str) else str(item).lower()
