"""What a step that was run again computed, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNCHANGED = "Nothing of the run was changed; the same command runs the step again."  # when it is interrupted
_TOLD = 8  # examples


def step_text(step: Mapping[str, Any]) -> str:
    """For a terminal: what `kdrecipes run --replay-step` found.

    Args:
        step: see `kdrecipes.training.step_replay.Replayed`.
    """
    norms = step["gradient_norms"]
    width = max([len("learning rate"), *(len(f"  {name}") for name in norms)])
    parts = ", ".join(f"{name} {_figure(value)}" for name, value in step["parts"].items() if value is not None)
    rows = [
        ("learning rate", _figure(step["learning_rate"])),
        ("loss", _figure(step["loss"])),
        ("its parts", parts),
        ("first", _first(step)),
        ("examples", _examples(step["examples"])),
        ("gradient norms", ""),
        *((f"  {name}", _figure(norm)) for name, norm in norms.items()),
    ]
    again = f"{step['fit']}: step {step['step']} of epoch {step['epoch']} was run again"
    finite = f"{again}. This time it is finite. Another machine can compute other numbers."
    title = finite if step["finite"] else f"{again}; it is not finite."
    return "\n".join([title, *(f"{name:<{width}}  {value}".rstrip() for name, value in rows)])


def _first(step: Mapping[str, Any]) -> str:
    """Where it goes wrong."""
    first = step["first"]
    if first is None:
        return "no layer: the outputs and gradients of all are finite, and so are their weights"
    if first["what"] == "output":
        return f"the output of {first['layer']} is not finite; those of the layers before it are"
    if first["what"] == "weights":
        return f"the weights of {first['layer']} are not finite after the step; all outputs and gradients are"
    return f"the gradient of {first['layer']} is not finite; the outputs of all layers are"


def _examples(examples: list[Mapping[str, Any]]) -> str:
    """Those that are not finite, or all where all are or none is."""
    bad = [one for one in examples if not one["finite"]]
    chosen = bad or examples
    label = "not finite: " if bad else ""
    named = [f"{one['name']} ({'no label' if one['label'] is None else one['label']})" for one in chosen[:_TOLD]]
    more = f" and {len(chosen) - _TOLD} more" if len(chosen) > _TOLD else ""
    return f"{label}{', '.join(named)}{more}"


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
