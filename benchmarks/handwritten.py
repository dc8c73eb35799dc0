"""The training loop that an expert writes by hand in torch, tuned before it is compared.

Three things are tried for each network, and the faster is kept: channels-last or contiguous memory, geffnet's own
activations or torch's, fused or foreach AdamW. What won is among the row's figures. The number of threads is not tried:
it is the process's, and both sides share it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import geffnet
import torch
import torch.nn.functional as F

from benchmarks.networks import CLASSES, LEARNING_RATE, WEIGHT_DECAY, autocast
from benchmarks.rows import Setting
from benchmarks.timing import interleave

# The variants with TensorFlow's padding and batch norm, which Keras' are too.
TWINS = {
    "efficientnet_b0": "tf_efficientnet_b0",
    "mobilenet_v3_large": "tf_mobilenetv3_large_100",
    "mobilenet_v3_small": "tf_mobilenetv3_small_100",
}
_NATIVE = {"HardSwishMe": torch.nn.Hardswish, "HardSigmoidMe": torch.nn.Hardsigmoid}


@dataclass(frozen=True)
class Way:
    """One way to write the loop."""

    channels_last: bool = True
    native_activations: bool = True
    fused: bool = True

    def __str__(self) -> str:
        return ", ".join(
            [
                "channels last" if self.channels_last else "contiguous",
                "torch's activations" if self.native_activations else "geffnet's activations",
                "fused AdamW" if self.fused else "foreach AdamW",
            ]
        )


def build(name: str, native_activations: bool = True) -> torch.nn.Module:
    """The twin of a Keras network, dropping as much, from float pixels (batch, 3, height, width) to logits."""
    depth = 0.2 if name == "efficientnet_b0" else 0.0  # stochastic depth
    body = geffnet.create_model(
        TWINS[name], pretrained=False, num_classes=CLASSES, drop_rate=0.2, drop_connect_rate=depth
    )
    if native_activations:
        _use_native_activations(body)
    return torch.nn.Sequential(_Normalize(name), body)


class _Normalize(torch.nn.Module):
    """The preprocessing that the Keras network has inside."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str):
        super().__init__()
        self.mobilenet = name.startswith("mobilenet")
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mobilenet:
            return x * (1 / 127.5) - 1.0
        return (x * (1 / 255) - self.mean) / self.std


def _use_native_activations(model: Any) -> None:
    for module in list(model.modules()):
        for child_name, child in list(module.named_children()):
            if (native := _NATIVE.get(type(child).__name__)) is not None:
                setattr(module, child_name, native())
        if getattr(getattr(module, "gate_fn", None), "__name__", "").startswith("hard_sigmoid"):
            module.gate_fn = F.hardsigmoid  # of squeeze and excitation: a function


def step_of(name: str, images: torch.Tensor, labels: torch.Tensor, way: Way, setting: Setting) -> Callable[[], Any]:
    """One training step on a batch in memory; it returns the loss before it.

    Args:
        name: the network's.
        images: float32 (batch, height, width, 3), pixels.
        labels: int64 (batch,).
        way: how it is written.
        setting: its device and precision.
    """
    torch.manual_seed(0)
    memory = torch.channels_last if way.channels_last else torch.contiguous_format
    model: Any = build(name, way.native_activations).train()
    model.to(setting.device, memory_format=memory)
    x = images.permute(0, 3, 1, 2).contiguous(memory_format=memory)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=way.fused, foreach=not way.fused
    )

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(setting.precision):
            loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def tune(name: str, images: torch.Tensor, labels: torch.Tensor, setting: Setting) -> tuple[Callable[[], Any], Way]:
    """The step written in the fastest way, found one choice after the other, and that way."""
    way = Way()
    step = step_of(name, images, labels, way, setting)
    for choice in ("channels_last", "native_activations", "fused"):
        other = replace(way, **{choice: not getattr(way, choice)})
        other_step = step_of(name, images, labels, other, setting)
        times = interleave({"kept": step, "other": other_step}, setting.choose(5, 2), steps=setting.choose(2, 1))
        if statistics.median(times["other"]) < statistics.median(times["kept"]):
            way, step = other, other_step
    return step, way
