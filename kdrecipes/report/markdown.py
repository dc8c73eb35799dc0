"""Text from outside in Markdown and in the YAML above it: it is shown as it is, and formats or breaks nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from kdrecipes.wording import printable

_MEANT = re.compile(r"([\\`*_{}\[\]|~$#@])")  # what Markdown, or a site that shows it, takes for more than a character
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LINKS = re.compile(r"(?i)(?<=www)\.|(?<=http):|(?<=https):|(?<=ftp):")  # what GitHub's Markdown makes a link of


def inline(text: str) -> str:
    """A text on one line, for a sentence, a list or a cell of a table."""
    text = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], printable(text))
    text = _LINKS.sub(r"\\\g<0>", _MEANT.sub(r"\\\1", text))
    return re.sub(r"^(\d+)([.)])(?!\S)|^([-+=])", r"\1\\\2\3", text)  # no list, no heading, no rule


def fenced(text: str, language: str = "") -> str:
    """A block of code; its fence is longer than any in the text."""
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    lines = "\n".join(printable(line) for line in text.replace("\t", "    ").splitlines())
    return f"{fence}{language}\n{lines}\n{fence}"


def scalar(text: str) -> str:
    """A text as YAML: in double quotes, on one line."""
    return json.dumps(printable(text), ensure_ascii=False)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is words, the others are numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
