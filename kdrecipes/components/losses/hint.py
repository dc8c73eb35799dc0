"""`hint`: the mean squared distance between chosen features of student and teacher (FitNets, Romero et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.hookspecs import Component

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


class Hint:
    """Σ over the named pairs of layers of mean((student − teacher)²), one value per example.

    Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, equation 3, with the mean over a feature's
    elements instead of half their sum, so that the value does not grow with the feature's size.

    Args:
        student_layers: names of student layers, as long as `teacher_layers`.
        teacher_layers: names of teacher layers.

    Raises:
        ValueError: when the two are not equally long, or a pair's shapes differ at the first step
            (widths that differ need a projector: `projector = "linear"` in a recipe, `Projected(Hint(…))` in Python).
    """

    def __init__(self, student_layers: tuple[str, ...] = (), teacher_layers: tuple[str, ...] = ()):
        if len(student_layers) != len(teacher_layers):
            raise ValueError(
                "`student_layers` and `teacher_layers` pair up. "
                f"Received: {len(student_layers)} and {len(teacher_layers)}"
            )
        self.student_layers, self.teacher_layers = tuple(student_layers), tuple(teacher_layers)

    def __call__(self, labels: torch.Tensor, student: Outputs, teacher: Outputs) -> torch.Tensor:
        """Values of shape (batch,); `labels` are not read."""
        total = None
        for mine, theirs in zip(self.student_layers, self.teacher_layers, strict=True):
            a, b = student.features[mine], teacher.features[theirs]
            if a.shape != b.shape:
                raise ValueError(
                    f"student layer {mine!r} gives {tuple(a.shape)} and teacher layer {theirs!r} {tuple(b.shape)}: "
                    'shapes must be equal. `projector = "linear"` (Python: `Projected`) maps widths; sizes must agree.'
                )
            a, b = (x.float() if x.element_size() < 4 else x for x in (a, b))  # half precision overflows when squared
            value = (a - b).square().flatten(1).mean(1)
            total = value if total is None else total + value
        if total is None:
            raise ValueError("`hint` needs student_layers and teacher_layers.")
        return total


def build() -> Hint:
    """The term that a recipe's `name = "hint"` asks for; the run hands it the recipe's layers."""
    return Hint()


COMPONENT = Component(
    kind="loss", name="hint", build=build, summary="mean squared distance between chosen features (FitNets)"
)
