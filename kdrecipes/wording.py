"""Words as people read them: numbers, bytes, seconds, points; the nearest name that was meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_LISTED = 20  # lines of a list that a message gives
EXAMPLES = 3  # names of files that a sentence gives
_REASONS = 8  # reasons that it gives
_NAMED = 5  # texts of its own kind that it gives


def nearest(word: str, choices: Iterable[str], likeness: float = 0.6) -> str:
    """The choice most like `word`, or an empty string where none is near: `likeness` of 1 is the word itself."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=likeness)
    return close[0] if close else ""


def bare_name(name: str) -> str:
    """A name without what people write one way or another: `"MobileNet-V3_Small"` → `"mobilenetv3small"`."""
    return "".join(letter for letter in name.lower() if letter not in "-_./ ")


def nearest_names(word: str, choices: Iterable[str], count: int = 5) -> list[str]:
    """The choices most like `word`, the nearest first, whatever their case and what stands between their words."""
    bare: dict[str, str] = {}
    for choice in choices:
        bare.setdefault(bare_name(choice), choice)
    return [bare[one] for one in difflib.get_close_matches(bare_name(word), bare, n=count, cutoff=0.6)]


def normal_name(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def printable(text: str) -> str:
    """`text` on one line and safe for any terminal: what can't be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if c < "\U00010000" else f"\\U{ord(c):08x}" for c in text
    )


def escaped(text: str) -> str:
    r"""`text` as UTF-8 can hold it: a byte of a file's name that is not UTF-8 is written `\\xe9`."""
    if text.isascii():
        return text
    return "".join(
        c if not "\ud800" <= c <= "\udfff" else f"\\x{ord(c) - 0xDC00:02x}" if c >= "\udc80" else f"\\u{ord(c):04x}"
        for c in text
    )


# Control characters but for line ends and tabs; what ends a line elsewhere; what turns or hides letters, but for the
# two characters that join letters and signs.
_NOT_SHOWN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]"
    "|[\U000e0000-\U000e0fff]"
)


def harmless(text: str) -> str:
    r"""`text`, its lines as they are, with nothing in it that a terminal obeys or hides: ESC is written `\u001b`."""
    return _NOT_SHOWN.sub(lambda found: printable(found[0]), escaped(text))


def harmless_json(text: str) -> str:
    """A JSON text of the same value, with nothing in it that a terminal obeys or hides."""
    return _NOT_SHOWN.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), text)


def left_out_words(left_out: Mapping[str, Sequence[str]]) -> str:
    """Names of files by the reason why they are left out, as text: `{"hidden": ["d/.a"]}` → `"1 hidden (d/.a)"`."""
    some = {reason: names for reason, names in left_out.items() if names}
    most_first = sorted(some.items(), key=lambda item: (-len(item[1]), item[0]))
    words = [f"{len(names):,} {reason} ({_examples(names)})" for reason, names in most_first]
    if rest := sum(len(names) for _, names in most_first[_REASONS:]):
        words[_REASONS:] = [f"{rest:,} for other reasons"]
    return "; ".join(words)


def named(names: Sequence[str], count: int | None = None) -> str:
    """The first names, and how many more of `count` (default: of them) there are: `a, b, c and 4 more`."""
    more = (len(names) if count is None else count) - EXAMPLES
    return ", ".join(names[:EXAMPLES]) + (f" and {more:,} more" if more > 0 else "")


def identical_words(found: Mapping[str, Any]) -> str:
    """Images that stand in a second place too, in a sentence or two; `found` is a fact of `dataset.identical`."""
    names, count = named(found["names"], found["images"]), f"{found['images']:,} of the {found['of']:,}"
    are = "is" if found["images"] == 1 else "are"
    if found["among"] == "labels":
        return (
            f"{count} train, validation and test images {are} there under another label too: {names}. No network can "
            "be right about both labels."
        )
    return (
        f"{count} {found['among']} images {are} pixel for pixel the same as {found['also']} images: {names}. What is "
        "measured on them is memory, not skill."
    )


def listed(lines: Sequence[str]) -> list[str]:
    """The first lines of a list, and one that counts the others where there are more."""
    rest = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], f"  and {rest:,} more"] if rest > 0 else list(lines)


def some_of(texts: Sequence[str], what: str) -> str:
    """The first texts, and how many more there are: `a, b, c, d, e and 2 more classes`, where `what` is "classes"."""
    rest = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {rest:,} more {what}" if rest > 0 else "")


def _examples(names: Sequence[str]) -> str:
    return ", ".join([*names[:EXAMPLES], *(["…"] if len(names) > EXAMPLES else [])])


def readable_bytes(size: float) -> str:
    """`141557760` → `"142 MB"`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def readable_seconds(seconds: float) -> str:
    """`3725` → `"1 h 2 min"`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def points(share: float) -> str:
    """`-0.0083` → `"−0.83"`, a difference in percentage points with its sign."""
    return f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0: no negative zero


def about_points(share: float) -> str:
    """`0.0173` → `"1.7"`, a size in percentage points to about two digits."""
    size = 100 * share
    return f"{size:.{0 if size >= 10 else 1 if size >= 1 else 2}f}"


def nats(value: float) -> str:
    """`-0.0214` → `"−0.021"`, a difference in nats with its sign."""
    return f"{value:+.3f}".replace("-", "−")
