"""Which term an error is about, and which key of it: who knows tells the error, who words a message asks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_PLACE = "kdrecipes_term_place"  # an attribute of the error: its class stays what people expect


@contextmanager
def about(term: int | None = None, key: str = "") -> Iterator[None]:
    """Let an error that leaves the block know the number of its term, and the recipe's key; what is known stays."""
    try:
        yield
    except Exception as error:
        number, known = getattr(error, _PLACE, (None, ""))
        setattr(error, _PLACE, (term if number is None else number, known or key))
        raise


def place_in(error: BaseException, places: Sequence[str], otherwise: str = "") -> str:
    """The place in a recipe that an error is about, such as `loss.terms[1].student_layers`.

    Args:
        error: from the use of terms.
        places: of the recipe's terms, in their order.
        otherwise: what to give where the error knows no term.
    """
    number, key = getattr(error, _PLACE, (None, ""))
    if number is None or number >= len(places):
        return otherwise
    return f"{places[number]}.{key}" if key else places[number]
