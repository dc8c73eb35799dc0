"""What a parser says of a text that is neither TOML nor JSON, in the words of somebody who wrote it."""

from __future__ import annotations

import json
import re
import unicodedata

from kdrecipes.errors import Code, Problem
from kdrecipes.recipe.positions import place
from kdrecipes.recipe.structure import show

BACKSLASH = "a backslash in double quotes starts an escape: in a path use single quotes or /, elsewhere write two"
_TWICE = "this key or table stands twice, or adds to one that is complete"
_NOT_CLOSED = "this string is not closed"

# What tomllib's messages begin with, and what they mean to the person who wrote the line.
_TOML_WORDS = {
    "Invalid value": "a value is expected here: a number, true, false, an array, a table, or text in double quotes",
    "Illegal character '\\n'": "this string is not closed on its line",
    "Unescaped '\\'": BACKSLASH,
    "Invalid hex value": BACKSLASH,
    "Escaped character is not": BACKSLASH,
    "Expected '='": "a key is followed by = and its value",
    "Expected ']": "the name of a table ends with ], of an array of tables with ]]",
    "Expected \"'": _NOT_CLOSED,
    "Unterminated string": _NOT_CLOSED,
    "Invalid statement": "a key, a [table] or a # comment is expected here",
    "Expected newline or end of document": "one `key = value` stands on a line, and nothing after it but a # comment",
    "Unclosed array": "this array is not closed",
    "Unclosed inline table": "this inline table is not closed",
    "Invalid initial character for a key part": "a key consists of letters, digits, _ and -, or stands in quotes",
    "Invalid date or datetime": "there is no such date",
    "Cannot ": _TWICE,
    "Duplicate ": _TWICE,
}
# The same of json's.
_JSON_WORDS = {
    "Expecting value": "a value is expected here: a number, true, false, an array, an object, or text in double quotes",
    "Expecting property name": "a key in double quotes is expected here; no comma stands after the last one",
    "Illegal trailing comma": "no comma stands after the last entry",
    "Expecting ','": "a comma or a closing bracket is expected here",
    "Expecting ':'": "a key is followed by : and its value",
    "Extra data": "nothing follows the one object",
    "Unterminated string": _NOT_CLOSED,
    "Invalid control character": "this string is not closed on its line",
    "Invalid \\": "a backslash starts an escape: write two, or / in a path",
}
_OTHER_QUOTES = "“”„‟«»‘’‚‛′″`"


def not_toml(text: str, file: str, message: str) -> Problem:
    """What tomllib's `message` says of a text, in our words."""
    line, column, what = _toml_error_place(message, text)
    words = next((ours for theirs, ours in _TOML_WORDS.items() if what.startswith(theirs)), what)
    return _problem(text, file, (line, column), "TOML", words, bare=what == "Invalid value")


def not_json(text: str, file: str, error: json.JSONDecodeError) -> Problem:
    """What json's error says of a text, in our words."""
    words = next((ours for theirs, ours in _JSON_WORDS.items() if error.msg.startswith(theirs)), error.msg)
    if text[error.pos :].startswith(("//", "/*", "#")):
        words = "JSON has no comments"
    return _problem(text, file, (error.lineno, error.colno), "JSON", words, bare=error.msg == "Expecting value")


def strange(character: str) -> str:
    """What to say of a character that no editor shows, or that only looks like a quotation mark; empty of others."""
    code = f"U+{ord(character):04X}" if character else ""
    if character and character in _OTHER_QUOTES:
        return f"{character} ({code}) is no quotation mark here: write a straight one"
    if character in ("", " ", "\t", "\n") or (character.isprintable() and not unicodedata.combining(character)):
        return ""
    name = {"\ufeff": "BYTE ORDER MARK", "\r": "CARRIAGE RETURN", "\0": "NULL"}.get(character)
    name = name or unicodedata.name(character, "")
    mend = {
        "\r": "save the file with the line ends of Unix or Windows",
        "\0": "save the file as UTF-8",
    }.get(character, "delete it, or write a plain space")
    return f"an invisible character stands here, {' '.join(filter(None, (code, name)))}: {mend}"


def _problem(text: str, file: str, at: tuple[int, int], form: str, words: str, *, bare: bool) -> Problem:
    """A parser stopped `at` a line and column; `bare`: where it expected a value, so that a word there wants quotes."""
    line, column = at
    rest = text.split("\n")[line - 1][column - 1 :]
    words = strange(rest[:1]) or words
    word = re.match(r"[^\W\d]\w*", rest) if bare else None
    received = word[0] if word else ""
    meant = received.lower() if received in ("True", "False") else show(received) if received else ""
    code: Code = "not-toml" if form == "TOML" else "not-json"
    return Problem(file, line, column, "", f"is not {form}: {words}", received, meant, code=code)


def _toml_error_place(message: str, text: str) -> tuple[int, int, str]:
    """tomllib ends its messages with "(at line L, column C)" or "(at end of document)"."""
    what, _, where = message.rpartition(" (at ")
    words = where.rstrip(")").replace(",", "").split()
    if words[:1] == ["line"]:
        return int(words[1]), int(words[3]), what
    return *place(text, len(text.rstrip())), what or message
