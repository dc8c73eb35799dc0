"""The pairs of layers that a feature term compares: their names, their features, and one size for two maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kdrecipes.components.losses.taken_layers import take_layers

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


class Pair(NamedTuple):
    """Two layers that belong together, and what they gave: at least float32, the teacher's without a gradient."""

    student_layer: str
    teacher_layer: str
    student: torch.Tensor
    teacher: torch.Tensor

    def shapes(self) -> str:
        """Both names and shapes, for messages."""
        return (
            f"student layer {self.student_layer!r} gives {tuple(self.student.shape)} and teacher layer "
            f"{self.teacher_layer!r} {tuple(self.teacher.shape)}"
        )


def pairs_of(term: Any, student: Outputs, teacher: Outputs) -> Iterator[Pair]:
    """The pairs of layers that a term names, in order.

    Half precision is widened to float32, for it overflows when it is squared.

    Raises:
        ValueError: when they are not those that the term reads.
    """
    take_layers(term)  # a run sets them after the term is made
    if not term.student_layers or not term.teacher_layers:  # of a term that finds its own
        raise ValueError(f"`{term.name}` has not met its networks: name student_layers and teacher_layers.")
    for mine, theirs in zip(term.student_layers, term.teacher_layers, strict=True):
        yield Pair(
            mine, theirs, at_least_float32(student.features[mine]), at_least_float32(teacher.features[theirs]).detach()
        )


def summed(values: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of what each pair of layers gives, one at least."""
    first, *others = values
    return sum(others, first)


def at_least_float32(feature: torch.Tensor) -> torch.Tensor:
    """The same numbers, in float32 where they are in half precision."""
    return feature.float() if feature.element_size() < 4 else feature


def vectors(feature: torch.Tensor) -> torch.Tensor:
    """(batch, channels): a map (batch, height, width, channels) or tokens (batch, tokens, channels) as their mean."""
    return feature if feature.ndim == 2 else feature.flatten(1, -2).mean(1)


def positions(feature: torch.Tensor) -> torch.Tensor:
    """(batch, positions, channels) of a map (batch, height, width, channels) or tokens (batch, tokens, channels).

    Raises:
        ValueError: when the feature has no positions.
    """
    if feature.ndim not in (3, 4):
        raise ValueError(
            "a layer must give maps (batch, height, width, channels) or tokens (batch, tokens, channels). "
            f"Received: {tuple(feature.shape)}"
        )
    return feature.flatten(1, -2)


def same_positions(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Both features as (batch, positions, channels), maps of two sizes averaged to the smaller.

    Raises:
        ValueError: when they have no positions, or tokens are not equally many.
    """
    a, b = to_smaller_map(pair.student, pair.teacher)
    if a.ndim not in (3, 4) or b.ndim not in (3, 4) or a.shape[1:-1].numel() != b.shape[1:-1].numel():
        raise ValueError(f"{pair.shapes()}: both must give maps, or tokens that are equally many.")
    return positions(a), positions(b)


def to_smaller_map(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two maps (batch, height, width, channels) at one size, the smaller of each side, by averages over their cells.

    What is no map, and maps of one size, stay as they are.
    """
    from torch.nn.functional import adaptive_avg_pool2d

    if a.ndim != 4 or b.ndim != 4 or a.shape[1:3] == b.shape[1:3]:
        return a, b
    height, width = (min(x, y) for x, y in zip(a.shape[1:3], b.shape[1:3], strict=True))
    a, b = (adaptive_avg_pool2d(x.permute(0, 3, 1, 2), (height, width)).permute(0, 2, 3, 1) for x in (a, b))
    return a, b
