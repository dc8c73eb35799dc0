"""`hint`: the mean squared distance between chosen features of student and teacher (FitNets, Romero et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdrecipes.components.losses.declared import term

if TYPE_CHECKING:
    import torch

    from kdrecipes.components.outputs import Outputs


@term(
    "hint",
    summary="mean squared distance between chosen features (FitNets)",
    paper='Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, equation 3, with the mean over a '
    "feature's elements instead of half their sum, so that the value does not grow with the feature's size",
)
class Hint:
    """Σ over the named pairs of layers of mean((student − teacher)²), one value per example.

    `student_layers` and `teacher_layers` name layers, equally many. Two layers of a pair whose shapes differ raise a
    ValueError at the first step. Widths that differ need a projector: `projector = "linear"` in a recipe,
    `Projected(Hint(…))` in Python.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.student_layers) != len(self.teacher_layers):
            raise ValueError(
                "`student_layers` and `teacher_layers` pair up. "
                f"Received: {len(self.student_layers)} and {len(self.teacher_layers)}"
            )
        self.student_layers, self.teacher_layers = tuple(self.student_layers), tuple(self.teacher_layers)

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
