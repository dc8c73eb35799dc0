"""Whether the images of a fit fit the networks: told before a step, with the role and both shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_LAST = "pixels are channels-last, (batch, height, width, channels)"


def refuse_other_pixels(model: Any, shape: Sequence[int | None], role: str, *, resized: bool = False) -> None:
    """Compare what a network takes, where it tells, with what it is given.

    Args:
        model: a network.
        shape: of a batch of images.
        role: what the network is, such as "student".
        resized: images of another size are resized for it.

    Raises:
        ValueError: when they differ.
    """
    takes, given = getattr(model, "input_shape", None), tuple(shape)
    if not isinstance(takes, tuple) or len(takes) != 4:
        return
    if len(given) != 4:
        raise ValueError(f"The {role} takes images, {takes}, and is given {given}: {_LAST}.")
    if takes[3] not in (None, given[3]):
        raise ValueError(f"The {role} {_other_channels(takes, given)}")
    if not resized and any(own not in (None, other) for own, other in zip(takes[1:3], given[1:3], strict=True)):
        raise ValueError(
            f"The {role} takes images of {takes[1]} × {takes[2]} pixels, {takes}, and is given {given}. Resize the "
            f"images, or put keras.layers.Resizing({takes[1]}, {takes[2]}) in front of it."
        )


def _other_channels(takes: Sequence[Any], given: Sequence[Any]) -> str:
    if takes[1] == given[3] and given[3] < (given[1] or 0):
        return (
            f"takes channels first, {takes}, and is given {given}: {_LAST}. "
            "Put keras.layers.Permute((3, 1, 2)) in front of it."
        )
    if takes[3] == given[1]:
        return f"takes {takes} and is given {given}: {_LAST}. Permute the images first: images.transpose(0, 2, 3, 1)."
    layer = {
        (3, 1): ", such as keras.layers.Concatenate()([image, image, image])",
        (1, 3): ", such as keras.ops.image.rgb_to_grayscale(image)",
    }.get((takes[3], given[3]), "")
    return (
        f"takes images of {_channels(takes[3])}, {takes}, and is given images of {_channels(given[3])}, {given}. "
        f"Teacher and student are shown the same images: let a model begin with what makes of them its own{layer}."
    )


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


@contextmanager
def channels_explained(module: Any, shape: Sequence[int], role: str) -> Iterator[None]:
    """Let the error of a torch module that takes channels first say so.

    Args:
        module: a network; another one's errors are let pass.
        shape: of the images that it is called with in the block.
        role: what the network is.

    Raises:
        ValueError: in place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        layers = module.modules() if isinstance(module, torch.nn.Module) else ()
        first = next((layer for layer in layers if isinstance(layer, torch.nn.Conv2d)), None)
        if first is None or first.in_channels != shape[-1] or f"{shape[1]} channels" not in str(error):
            raise
        raise ValueError(
            f"The {role} takes channels first, and is given {tuple(shape)}: {_LAST}. Permute first in its forward: "
            "images.permute(0, 3, 1, 2)."
        ) from error
