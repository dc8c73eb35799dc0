"""What is told when a signal stops something: that the same command goes on, and which other."""

import os
import signal

import pytest

from kdrecipes.errors import Preempted
from kdrecipes.stopping import stoppable


@pytest.mark.parametrize(
    ("number", "kind", "first"),
    [(signal.SIGTERM, Preempted, "Stopped by SIGTERM."), (signal.SIGINT, KeyboardInterrupt, "Interrupted.")],
)
def test_the_way_on_of_the_outermost_is_told(number, kind, first):
    """A point of a sweep goes on with its sweep."""
    saved = f"{first} The same command goes on after the last step that was saved"
    with pytest.raises(kind) as caught, stoppable("kdrecipes resume 'a b'"), stoppable("kdrecipes resume x"):
        os.kill(os.getpid(), number)
    assert str(caught.value) == f"{saved}, and so does `kdrecipes resume 'a b'`."
    with pytest.raises(kind) as caught, stoppable():
        os.kill(os.getpid(), number)
    assert str(caught.value) == f"{saved}."
