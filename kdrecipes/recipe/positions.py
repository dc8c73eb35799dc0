"""Where each key of a TOML or JSON text stands: tomllib and json say nothing about lines.

Both scanners run on text that the real parser has already accepted, so they need not judge it.
"""

from __future__ import annotations

import contextlib
import json as json_module
import re
import tomllib
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]

from kdrecipes.wording import printable

Path = tuple[str | int, ...]
Positions = dict[Path, tuple[int, int]]

_TOML_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_TOML_KEY = re.compile(r'\s*("(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+)\s*')
# A string that is not closed goes to the end, of its line or of the text, so that each character is read once.
_TOML_STRING = re.compile(
    r""""{3}(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:\\.|[^"\\\n])*+(?:"|\\?\Z|(?=\n))|'[^'\n]*+(?:'|\Z|(?=\n))""",
    re.DOTALL,
)
_TOML_SCALAR = re.compile(r"[^,\]}#\n]+")
_TOML_DOTTED = r"(?<![A-Za-z0-9_-])(?:[A-Za-z0-9_-]++[ \t]*+\.[ \t]*+){%d}"
_JSON_STRING = re.compile(r'"(?:\\.|[^"\\])*+(?:"|\\?\Z)', re.DOTALL)
_JSON_BLANK = re.compile(r"[ \t\r\n]*")
_JSON_SCALAR = re.compile(r"[^,\]}\s]+")


def show_path(path: Path) -> str:
    """`("loss", "terms", 0, "weight")` as a person writes it: `loss.terms[0].weight`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_$-]+", part)
            quoted = printable(json_module.dumps(part, ensure_ascii=False))
            text += ("." if text else "") + (part if bare else quoted)
    return text


class _Scanner:
    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        # What stands twice, in texts that the parser refused for it: path, where it stood first, where again.
        self.repeated: list[tuple[Path, int, int]] = []

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at + 1

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def positions(self) -> Positions:
        starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        result: Positions = {}
        line = 0
        for path, offset in sorted(self.found.items(), key=lambda item: item[1]):
            while line + 1 < len(starts) and starts[line + 1] <= offset:
                line += 1
            result[path] = (line + 1, offset - starts[line] + 1)
        return result


class _Toml(_Scanner):
    def __init__(self, text: str):
        super().__init__(text)
        self.pairs: set[Path] = set()
        self.tables: set[Path] = set()

    def keys(self) -> tuple[list[str], list[int]]:
        """One dotted key: its parts and where each begins."""
        parts, offsets = [], []
        while match := _TOML_KEY.match(self.text, self.at):
            raw = match.group(1)
            parts.append(next(iter(tomllib.loads(f"{raw} = 0"))) if raw[0] in "\"'" else raw)
            offsets.append(match.start(1))
            self.at = match.end()
            if self.peek() != ".":
                break
            self.at += 1
        return parts, offsets

    def pair(self, table: Path) -> None:
        parts, offsets = self.keys()
        for depth, offset in enumerate(offsets, 1):
            path = (*table, *parts[:depth])
            if path in self.pairs or (depth == len(parts) and path in self.found):
                self.repeated.append((path, self.found[path], offset))
            self.found.setdefault(path, offset)
        self.pairs.add((*table, *parts))
        self.at = self.text.index("=", self.at) + 1
        self.value((*table, *parts))

    def value(self, path: Path) -> None:
        self.skip(_TOML_BLANK)
        match self.peek():
            case "{":
                self.at += 1
                self.items("}", lambda _: self.pair(path))
            case "[":
                self.at += 1
                self.items("]", lambda index: self.element((*path, index)))
            case '"' | "'":
                self.skip(_TOML_STRING)
            case _:
                self.skip(_TOML_SCALAR)

    def element(self, path: Path) -> None:
        self.found[path] = self.at
        self.value(path)

    def items(self, end: str, read: Callable[[int], None]) -> None:
        index = 0
        self.skip(_TOML_BLANK)
        while self.peek() not in (end, ""):
            read(index)
            index += 1
            self.skip(_TOML_BLANK)
            if self.peek() == ",":
                self.at += 1
                self.skip(_TOML_BLANK)
        self.at += 1

    def scan(self) -> None:
        table: Path = ()
        counts: dict[Path, int] = {}
        while True:
            self.skip(_TOML_BLANK)
            if not self.peek():
                return
            if self.peek() != "[":
                self.pair(table)
                continue
            start = self.at
            is_array = self.text.startswith("[[", self.at)
            self.at += 2 if is_array else 1
            parts, _ = self.keys()
            self.at += 2 if is_array else 1
            table = ()
            for depth, part in enumerate(parts, 1):
                table = (*table, part)
                self.found.setdefault(table, start)
                last = depth == len(parts)
                if table in self.pairs or (last and table in self.tables):
                    self.repeated.append((table, self.found[table], start))
                if last and not is_array and table not in counts:
                    self.tables.add(table)
                if last and is_array:
                    counts[table] = counts.get(table, -1) + 1
                if table in counts:
                    table = (*table, counts[table])
            self.found.setdefault(table, start)


class _Json(_Scanner):
    def scan(self) -> None:
        self.skip(_JSON_BLANK)
        self.value(())

    def value(self, path: Path) -> None:
        if self.peek() == "{":
            self.at += 1
            self.skip(_JSON_BLANK)
            while self.peek() not in ("}", ""):
                start = self.at
                key, self.at = scanstring(self.text, self.at + 1, True)
                if (*path, key) in self.found:
                    self.repeated.append(((*path, key), self.found[*path, key], start))
                self.found[*path, key] = start
                self.at = self.text.index(":", self.at) + 1
                self.child((*path, key))
            self.at += 1
        elif self.peek() == "[":
            self.at += 1
            self.skip(_JSON_BLANK)
            index = 0
            while self.peek() not in ("]", ""):
                self.found[(*path, index)] = self.at
                self.child((*path, index))
                index += 1
            self.at += 1
        elif self.peek() == '"':
            _, self.at = scanstring(self.text, self.at + 1, True)
        else:
            self.skip(_JSON_SCALAR)

    def child(self, path: Path) -> None:
        self.skip(_JSON_BLANK)
        self.value(path)
        self.skip(_JSON_BLANK)
        if self.peek() == ",":
            self.at += 1
            self.skip(_JSON_BLANK)


def positions(text: str, *, json: bool) -> Positions:
    """Line and column (from 1) of every key and array element of a valid TOML or JSON text."""
    scanner: _Toml | _Json = _Json(text) if json else _Toml(text)
    scanner.scan()
    return scanner.positions()


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column (from 1) of an offset."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def repeated(text: str, *, json: bool) -> list[tuple[Path, int, int]]:
    """What stands twice in a text that is valid but for that: path, offset of the first, offset of the second."""
    scanner: _Toml | _Json = _Json(text) if json else _Toml(text)
    with contextlib.suppress(ValueError, RecursionError):  # the text may have other faults too
        scanner.scan()
    return scanner.repeated


def too_deep(text: str, limit: int, *, json: bool) -> int | None:
    """Where any text, valid or not, nests brackets or dotted keys deeper than `limit`.

    Asked before a parser reads the text: their time and stack grow with the depth.
    """

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " " if match[0][0] == "#" else "_", match[0])

    strings = _JSON_STRING if json else re.compile(f"#[^\n]*|{_TOML_STRING.pattern}", re.DOTALL)
    text = strings.sub(blank, text)
    depth = 0
    for match in re.finditer(r"[\[\]{}]", text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > limit:
            return match.start()
    dotted = None if json else re.search(_TOML_DOTTED % limit, text)
    return dotted.start() if dotted else None
