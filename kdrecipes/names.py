"""Names as people write them: the nearest that was meant, and distributions' as package indexes compare them."""

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
