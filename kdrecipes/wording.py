"""Words as people read them: numbers, bytes, seconds, points; the nearest name that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str], likeness: float = 0.6) -> str:
    """The choice most like `word`, or an empty string where none is near: `likeness` of 1 is the word itself."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=likeness)
    return close[0] if close else ""


def normal_name(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def printable(text: str) -> str:
    """`text` on one line and safe for any terminal: what can't be printed is escaped."""
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if c < "\U00010000" else f"\\U{ord(c):08x}" for c in text
    )


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
    return f"{100 * share:+.2f}".replace("-", "−")


def about_points(share: float) -> str:
    """`0.0173` → `"1.7"`, a size in percentage points to about two digits."""
    size = 100 * share
    return f"{size:.{0 if size >= 10 else 1 if size >= 1 else 2}f}"


def nats(value: float) -> str:
    """`-0.0214` → `"−0.021"`, a difference in nats with its sign."""
    return f"{value:+.3f}".replace("-", "−")
