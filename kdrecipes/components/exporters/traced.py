"""A network as a `torch.export` program: what the exporters of other formats start from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kdrecipes.errors import RunError, one_line

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

INPUT, OUTPUT = "image", "logits"
INPUT_OPTION = {
    "enum": ["float32", "uint8"],
    "description": "Type of the pixels that the file takes, 0–255 either way.",
}


def traced(model: Any, example: NDArray[np.float32], pixels: str = "float32") -> torch.export.ExportedProgram:
    """The network's graph from one input "image" to its logits, in inference mode, with its weights.

    Args:
        model: a Keras model from RGB pixels, float (batch, height, width, 3) in 0–255, to logits (batch, classes).
        example: images that it takes, float32 (batch, height, width, 3); two of them are traced.
        pixels: "float32" or "uint8": the type of the graph's input. The batch is of any size.

    Raises:
        RunError: when torch can't trace it.
    """
    import torch

    network, image = from_pixels(model).eval(), two_images(example, pixels)
    try:
        with quiet(), torch.no_grad():
            network(image)  # what is built lazily is built
            return torch.export.export(
                network, (image,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}, strict=False
            )
    except Exception as error:
        raise RunError(f"torch.export can't trace this network: {one_line(error)[:400]}") from error


def from_pixels(model: Any) -> torch.nn.Module:
    """A Keras model as a torch module from pixels of either type to logits, in inference mode."""
    import torch

    class Pixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(image.float(), training=False)
            return logits

    return Pixels()


def two_images(example: NDArray[np.float32], pixels: str) -> torch.Tensor:
    """Two of the images, or one of them twice, as a tensor of a type."""
    import numpy as np
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.resize(example, (2, *example.shape[1:])))).to(
        getattr(torch, pixels)
    )


def of_type(images: NDArray[Any], pixels: Any) -> NDArray[Any]:
    """Pixels of the type that a file takes; whole numbers are rounded, not cut off.

    Args:
        images: any numbers from 0 to 255.
        pixels: a dtype.
    """
    import numpy as np

    whole = np.issubdtype(pixels, np.integer) and images.dtype.kind == "f"
    return (np.rint(images) if whole else images).astype(pixels)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' own chatter: what is wrong is an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
