"""`Outputs`: what a network says about a batch, as a distillation term is given it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Outputs:
    """What a network says about a batch, as a term sees it.

    Attributes:
        logits: (batch, classes), at least float32.
        features: the declared layers' outputs, by name as declared. Maps are (batch, height, width, channels), those of
            torch modules too: theirs are turned, except where they are square with the channels last and not otherwise.
        index: int64 (batch,), positions in the train split; None where the data have none.
    """

    logits: torch.Tensor
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    index: torch.Tensor | None = None
