"""What a native computation of a layer is: a function on tensors in a layout.

Images are computed channels first on channels-last memory: `x.permute(0, 3, 1, 2)` of Keras' (batch, height, width,
channels) is such a tensor, without a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

Function = Callable[[Any, bool | None], Any]  # tensor (a list of them for merges), training → tensor


class Layout(Enum):
    """How a native function's tensors are laid out."""

    IMAGE = "(batch, channels, height, width) on channels-last memory"
    KERAS = "as Keras has it, channels last"
    ANY = "takes either; gives what it takes"


class Native(NamedTuple):
    """A layer's computation by torch's own functions.

    Attributes:
        function: from a tensor, or a list of them for a merge, and `training`, to a tensor.
        takes, gives: the layouts of its inputs and output.
        leaves: whether autograd has no need of the output, which may then be changed in place.
        in_place: the same function writing over its input, where autograd can work from the output alone.
        frozen_in_place: the same where there is no autograd.
        ranks: how many dimensions its inputs may have, all the same; empty: 4 for images, else any.
    """

    function: Function
    takes: Layout
    gives: Layout
    leaves: bool = False
    in_place: Function | None = None
    frozen_in_place: Function | None = None
    ranks: tuple[int, ...] = ()


def fits(made: Native, ranks: list[int]) -> bool:
    """Whether inputs of these numbers of dimensions can be taken."""
    allowed = made.ranks or ((4,) if Layout.IMAGE in (made.takes, made.gives) else ())
    return len(set(ranks)) == 1 and (not allowed or ranks[0] in allowed)
